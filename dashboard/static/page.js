// Theme, dialogs, copying. Everything works without it; nothing here draws data.

const root = document.documentElement;
const system = () => (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");

function toggleTheme() {
  const theme = (root.dataset.theme || system()) === "dark" ? "light" : "dark";
  const own = theme !== system();
  if (own) root.dataset.theme = theme;
  else delete root.dataset.theme; // as the system has it: follow it again
  // The server reads it to draw the first paint in the right colours.
  document.cookie = `surveyor_theme=${theme}; path=/; max-age=${own ? 31536000 : 0}; samesite=lax`;
}

async function copy(button) {
  const source = document.getElementById(button.dataset.copy);
  const label = button.querySelector("[data-label]");
  try {
    await navigator.clipboard.writeText(source.textContent);
    label.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(source);
    label.textContent = "Selected";
  }
  setTimeout(() => (label.textContent = "Copy"), 2000);
}

document.addEventListener("click", (event) => {
  const target = event.target.closest("[data-toggle-theme], [data-copy], [data-dialog], [data-close]");
  if (!target) return;
  if (target.matches("[data-toggle-theme]")) toggleTheme();
  else if (target.matches("[data-copy]")) copy(target);
  else if (target.matches("[data-close]")) {
    const dialog = target.closest("dialog");
    if (!dialog) return;
    event.preventDefault();
    dialog.close();
  }
  else {
    const dialog = document.getElementById(target.dataset.dialog);
    if (!dialog?.showModal) return; // the link leads to a page that asks the same
    event.preventDefault();
    dialog.showModal();
  }
});

// Shows the fields that the chosen kind of database has; what is hidden is not sent.
function fit(select) {
  const { fields } = select.selectedOptions[0]?.dataset ?? {};
  if (fields === undefined) return;
  for (const part of select.form.querySelectorAll("[data-only]")) {
    const own = fields.split(" ");
    part.hidden = !part.dataset.only.split(" ").some((name) => own.includes(name));
    for (const input of part.querySelectorAll("input, select")) input.disabled = part.hidden;
  }
}

const usualPort = (select) => select.selectedOptions[0]?.dataset.port;

// With another kind the port becomes the usual one of that, unless it is somebody's own.
function changePort(select) {
  const port = usualPort(select), box = select.form.elements.namedItem("port");
  if (!port) return;
  if (["", "0", select.usual].includes(box.value)) box.value = port;
  select.usual = port;
}

for (const select of document.querySelectorAll("select[data-kinds]")) {
  select.usual = usualPort(select);
  select.addEventListener("change", () => {
    fit(select);
    changePort(select);
  });
  fit(select);
}

// Filters a list of names while somebody types; the server says what matches, as on Enter.
async function filter(form) {
  const pane = form.closest(".pane"), query = new URLSearchParams(location.search);
  for (const [name, value] of new FormData(form)) {
    query.set(name, value);
    query.delete(`${name}_from`);
  }
  const turn = (form.turn = (form.turn || 0) + 1);
  const answer = await fetch(`?${query}`).catch(() => null);
  if (!answer?.ok || answer.redirected || form.turn !== turn) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const fresh = page.querySelector(`[aria-labelledby="${pane.getAttribute("aria-labelledby")}"]`);
  if (!fresh || form.turn !== turn) return;
  for (const part of [".pick", ".tools"]) pane.querySelector(part).replaceWith(fresh.querySelector(part));
}

document.addEventListener("input", ({ target }) => {
  const form = target.closest?.("form[data-filters]");
  if (!form) return;
  clearTimeout(form.soon);
  form.soon = setTimeout(filter, 150, form);
});

for (const button of document.querySelectorAll("[data-toggle-theme], [data-copy]")) button.hidden = false;
document.querySelector("[data-first-look]")?.focus();

const here = document.querySelector(".pick.tall [aria-current]");
if (here) here.scrollIntoView({ block: "nearest" });
