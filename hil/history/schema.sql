-- The tables and views of the history; docs/history.md describes them.
CREATE TABLE runs (
    id TEXT PRIMARY KEY, night TEXT NOT NULL, name TEXT NOT NULL, attempt INTEGER NOT NULL, plan TEXT NOT NULL,
    board TEXT NOT NULL, host TEXT NOT NULL, began REAL NOT NULL, ended REAL, status INTEGER,
    state TEXT NOT NULL CHECK (state IN ('done', 'killed')), facts TEXT NOT NULL,
    added REAL NOT NULL
) STRICT;
CREATE INDEX runs_by_night ON runs (night, name);
CREATE TABLE tests (
    run TEXT NOT NULL REFERENCES runs ON DELETE CASCADE,
    number INTEGER NOT NULL, test TEXT NOT NULL, nodeid TEXT NOT NULL,
    suite TEXT NOT NULL, board TEXT NOT NULL, place TEXT NOT NULL, image TEXT NOT NULL, image_sha256 TEXT NOT NULL,
    clock TEXT NOT NULL, outcome TEXT NOT NULL CHECK (outcome IN ('passed', 'failed', 'skipped', 'not run')),
    fault TEXT NOT NULL, cause TEXT NOT NULL, error TEXT NOT NULL, dead_board TEXT NOT NULL, seconds REAL NOT NULL, retried TEXT NOT NULL,
    transcript TEXT NOT NULL,
    PRIMARY KEY (run, number)
) STRICT, WITHOUT ROWID;
CREATE TABLE boots (
    run TEXT NOT NULL REFERENCES runs ON DELETE CASCADE,
    number INTEGER NOT NULL, board TEXT NOT NULL, kind TEXT NOT NULL,
    fault TEXT NOT NULL, stage TEXT NOT NULL, cause TEXT NOT NULL,
    PRIMARY KEY (run, number)
) STRICT, WITHOUT ROWID;
CREATE TABLE series (
    id INTEGER PRIMARY KEY, run TEXT NOT NULL REFERENCES runs ON DELETE CASCADE,
    number INTEGER NOT NULL, test TEXT NOT NULL,
    suite TEXT NOT NULL, board TEXT NOT NULL, quantity TEXT NOT NULL, subject TEXT NOT NULL, unit TEXT NOT NULL,
    clock TEXT NOT NULL, resolution REAL NOT NULL, floor REAL, exact INTEGER NOT NULL, remark TEXT NOT NULL,
    image TEXT NOT NULL, image_sha256 TEXT NOT NULL, module TEXT NOT NULL, module_sha256 TEXT NOT NULL,
    seed TEXT NOT NULL, n INTEGER NOT NULL, looks INTEGER NOT NULL, provenance TEXT NOT NULL,
    UNIQUE (run, number)
) STRICT;
CREATE TABLE figures (
    series INTEGER NOT NULL REFERENCES series ON DELETE CASCADE,
    name TEXT NOT NULL, unit TEXT NOT NULL, value REAL NOT NULL,
    lower REAL, upper REAL,
    PRIMARY KEY (series, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE checks (
    series INTEGER NOT NULL REFERENCES series ON DELETE CASCADE,
    number INTEGER NOT NULL, figure TEXT NOT NULL, bound REAL NOT NULL,
    unit TEXT NOT NULL, outcome TEXT NOT NULL, text TEXT NOT NULL,
    PRIMARY KEY (series, number)
) STRICT, WITHOUT ROWID;
CREATE TABLE samples (
    series INTEGER PRIMARY KEY REFERENCES series ON DELETE CASCADE,
    samples BLOB NOT NULL, times BLOB, offsets BLOB
) STRICT;
CREATE TABLE pruned (id TEXT PRIMARY KEY, at REAL NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE notes (id INTEGER PRIMARY KEY, at REAL NOT NULL, night TEXT NOT NULL, text TEXT NOT NULL) STRICT;

CREATE VIEW v_runs AS SELECT * FROM runs WHERE night = '' OR NOT EXISTS (
    SELECT 1 FROM runs AS later WHERE later.night = runs.night AND later.name = runs.name AND later.plan = runs.plan
    AND later.host = runs.host AND later.attempt > runs.attempt
);
CREATE VIEW v_tests AS SELECT r.night, r.plan, r.name, datetime(r.began, 'unixepoch') AS began, r.state, t.*
    FROM tests AS t JOIN v_runs AS r ON r.id = t.run;
CREATE VIEW v_boots AS SELECT r.night, r.plan, r.name, datetime(r.began, 'unixepoch') AS began, b.*
    FROM boots AS b JOIN v_runs AS r ON r.id = b.run;
CREATE VIEW v_figures AS SELECT r.night, r.plan, r.name AS run_name, datetime(r.began, 'unixepoch') AS began,
    s.run, s.number, s.test, s.suite, s.board, s.quantity, s.subject, f.unit, s.clock, s.exact, s.floor, s.image,
    s.image_sha256, s.module, s.module_sha256, s.seed, s.n, f.name, f.value, f.lower, f.upper, c.bound, c.outcome
    FROM figures AS f JOIN series AS s ON s.id = f.series JOIN v_runs AS r ON r.id = s.run
    LEFT JOIN checks AS c ON c.series = f.series AND c.figure = f.name;
