-- What is seldom met, as MariaDB 10.11 takes it; compared by bench/verify_mysql.py.
CREATE DATABASE `odd one` COMMENT 'it''s odd';
CREATE DATABASE Odd_two CHARACTER SET latin1 COLLATE latin1_german1_ci;
CREATE DATABASE odd_two;
CREATE DATABASE `100%` COLLATE utf8mb4_bin;
CREATE DATABASE nothing_in_it;
USE `odd one`;

CREATE TABLE types (
  a tinyint, b tinyint(1), c tinyint(1) unsigned, d smallint(5) unsigned zerofill, e mediumint, f int, g bigint unsigned,
  h decimal(65,30), i decimal, j numeric(4), k float, l float(7,3), m double, n double(9,2) unsigned,
  o bit, p bit(64) DEFAULT b'1010', q char, r char(255) CHARACTER SET ascii, s varchar(0), t varchar(5000),
  u tinytext, v text, w mediumtext, x longtext, y binary(16), z varbinary(100),
  aa tinyblob, ab blob, ac mediumblob, ad longblob, ae enum('a','b','c''d','e,f','(5)'), af set('x','y z','(3)'),
  ag date, ah time(3), ai datetime, aj datetime(6), ak timestamp(2) NULL, al year, am json, an uuid, ao inet6, ap inet4,
  aq geometry, ar point, `as` polygon, at geometrycollection, au boolean, av national varchar(10), aw varchar(10) COLLATE utf8mb4_bin
) DEFAULT CHARSET=utf8mb4;

CREATE TABLE defaults (
  id bigint unsigned NOT NULL AUTO_INCREMENT COMMENT 'counts; it''s \\ "quoted"',
  a int DEFAULT NULL, b int NOT NULL DEFAULT 0, c varchar(40) DEFAULT 'it''s; -- COMMENT ''no''', d varchar(40) DEFAULT '',
  e varchar(40) NOT NULL DEFAULT 'NULL', f datetime(3) DEFAULT current_timestamp(3) ON UPDATE current_timestamp(3),
  g timestamp NOT NULL DEFAULT current_timestamp(), h timestamp NULL ON UPDATE current_timestamp(),
  i double DEFAULT (rand() * 10), j varchar(60) DEFAULT (concat('a ', uuid())), k date DEFAULT '2020-02-29',
  l int INVISIBLE DEFAULT 4, m int AS (b + 1) VIRTUAL INVISIBLE, n varchar(90) GENERATED ALWAYS AS (concat(c, ', DEFAULT ', d)) STORED COMMENT 'made',
  o int WITHOUT SYSTEM VERSIONING, p blob DEFAULT x'00ff', q text DEFAULT 'line
break', r enum('a','b') NOT NULL DEFAULT 'b', s int NOT NULL CHECK (s > 0 AND `c` <> ')'), t json NOT NULL DEFAULT '{}',
  PRIMARY KEY (id), CONSTRAINT `a check` CHECK (a < b OR c IS NULL), CHECK (b <> 7)
) WITH SYSTEM VERSIONING COMMENT='with ''quotes'' and ; semicolons' AUTO_INCREMENT=42;

CREATE TABLE versioned (x int, row_start timestamp(6) GENERATED ALWAYS AS ROW START, row_end timestamp(6) GENERATED ALWAYS AS ROW END,
  PERIOD FOR SYSTEM_TIME (row_start, row_end)) WITH SYSTEM VERSIONING;
CREATE TABLE booked (room int, since date NOT NULL, until date NOT NULL, PERIOD FOR stay (since, until));

CREATE TABLE parents (a int, b int, c varchar(20) CHARACTER SET latin1, u int UNIQUE, PRIMARY KEY (a, b), UNIQUE KEY by_c (c, a)) ENGINE=InnoDB;
CREATE TABLE children (
  id int PRIMARY KEY, pa int, pb int, self int, u int, x int, y int,
  CONSTRAINT plain FOREIGN KEY (pa, pb) REFERENCES parents (a, b),
  CONSTRAINT acts FOREIGN KEY (u) REFERENCES parents (u) ON DELETE SET NULL ON UPDATE CASCADE,
  CONSTRAINT no_acts FOREIGN KEY (x) REFERENCES parents (u) ON DELETE NO ACTION ON UPDATE NO ACTION,
  CONSTRAINT gone_too FOREIGN KEY (self) REFERENCES children (id) ON DELETE CASCADE ON UPDATE RESTRICT,
  KEY mixed (pb DESC, pa, x DESC), KEY y_only (y) COMMENT 'says \\ ''so''', KEY no_use (y, x) IGNORED
);
CREATE TABLE odd_two.children (id int PRIMARY KEY, p int, CONSTRAINT acts FOREIGN KEY (p) REFERENCES `odd one`.children (id) ON UPDATE SET NULL);
CREATE TABLE indexed (
  a varchar(200), b varchar(200), c text, d blob, g point NOT NULL, h varchar(2000),
  UNIQUE KEY short (a(10), b), KEY longer (c(191), d(20)), FULLTEXT KEY words (a, c), SPATIAL KEY places (g), KEY `odd ``name` (b),
  UNIQUE KEY whole (h) USING HASH
);
CREATE TABLE hashed (a int, b int, KEY h (a) USING HASH, KEY t (b) USING BTREE) ENGINE=MEMORY;
CREATE TABLE no_engine_keys (a int, KEY (a)) ENGINE=MyISAM COMMENT='MyISAM';
CREATE TABLE aria (a int PRIMARY KEY) ENGINE=Aria;

CREATE TABLE ranged (id int, d date, PRIMARY KEY (id, d)) PARTITION BY RANGE (year(d)) SUBPARTITION BY HASH (id) SUBPARTITIONS 2
  (PARTITION p0 VALUES LESS THAN (2000), PARTITION p1 VALUES LESS THAN MAXVALUE);
CREATE TABLE listed (k int) PARTITION BY LIST (k) (PARTITION one VALUES IN (1, 2), PARTITION other DEFAULT);

CREATE VIEW seen AS SELECT a, c FROM parents WHERE c <> 'it''s' WITH CASCADED CHECK OPTION;
CREATE ALGORITHM=TEMPTABLE SQL SECURITY INVOKER VIEW counted (`how many`, of_what) AS SELECT count(*), s.c FROM seen s GROUP BY s.c;
CREATE VIEW far AS SELECT c.id, d.p FROM children c LEFT JOIN odd_two.children d ON d.p = c.id UNION ALL SELECT 1, NULL;
CREATE DEFINER=nobody_here@localhost VIEW orphaned AS SELECT a FROM parents;
CREATE VIEW recursive_one AS WITH RECURSIVE n AS (SELECT 1 AS x UNION SELECT x + 1 FROM n WHERE x < 5) SELECT x FROM n;

CREATE SEQUENCE ups START WITH 10 INCREMENT BY 5 MINVALUE -3 MAXVALUE 1000 CACHE 7 CYCLE;
CREATE SEQUENCE downs START WITH -1 INCREMENT BY -2;
CREATE SEQUENCE `100%`.`50%s` START WITH 7;

DELIMITER //
CREATE FUNCTION plain() RETURNS int(11) DETERMINISTIC COMMENT 'says ''one''' RETURN 1//
CREATE FUNCTION same_name(a int(11), `b c` varchar(10)) RETURNS decimal(10,2) READS SQL DATA BEGIN DECLARE x int DEFAULT 2; -- a comment
  RETURN a * x; END//
CREATE PROCEDURE same_name(IN a int(11), OUT b text, INOUT c enum('x','y,z')) MODIFIES SQL DATA SQL SECURITY INVOKER SET b = concat(a, c)//
CREATE PROCEDURE nothing() BEGIN END//
CREATE AGGREGATE FUNCTION adds(x int(11)) RETURNS int(11) BEGIN DECLARE s int DEFAULT 0; DECLARE CONTINUE HANDLER FOR NOT FOUND RETURN s;
  LOOP FETCH GROUP NEXT ROW; SET s = s + x; END LOOP; END//
SET sql_mode=ORACLE//
CREATE PACKAGE tools AS FUNCTION one RETURN int; END//
CREATE PACKAGE BODY tools AS FUNCTION one RETURN int AS BEGIN RETURN 1; END; END//
SET sql_mode=DEFAULT//
CREATE TRIGGER `first one` BEFORE INSERT ON children FOR EACH ROW SET NEW.x = 1//
CREATE TRIGGER zeroth BEFORE INSERT ON children FOR EACH ROW PRECEDES `first one` SET NEW.y = 0//
CREATE TRIGGER last_one BEFORE INSERT ON children FOR EACH ROW FOLLOWS `first one` BEGIN SET NEW.y = 2; -- done
END//
CREATE DEFINER=nobody_here@localhost TRIGGER after_all AFTER DELETE ON children FOR EACH ROW INSERT INTO parents VALUES (1, 2, 'it''s', 3)//
CREATE EVENT never ON SCHEDULE AT '2038-01-01' DISABLE DO SELECT 1//
DELIMITER ;

USE `100%`;
CREATE TABLE `%s` (`%d` int, `%(x)s` int DEFAULT 5, KEY `100%` (`%d`));
CREATE TABLE `back\slash` (a int); CREATE TABLE `quo"te'd ``tick` (`select` int, `a``b` int, KEY `i``1` (`a``b`));
CREATE TABLE `Ünïcødé_ΩΩ_表` (`列` int COMMENT '注释'); CREATE TABLE `#sql-odd` (a int); CREATE TABLE `a.b/c` (a int);
CREATE TABLE `ABC` (a int); CREATE TABLE `abc` (b int); CREATE TABLE `äbc` (c int);
CREATE TABLE `wwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwww` (`cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc` int);
CREATE TABLE `new
line` (`tab	in` int) COMMENT='line
break';
USE Odd_two;
CREATE TABLE umlauts (a varchar(10), b varchar(10) CHARACTER SET utf8mb3 COLLATE utf8mb3_bin) COMMENT='größer';
