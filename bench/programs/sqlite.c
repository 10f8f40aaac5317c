/* SPDX-License-Identifier: Apache-2.0 */
/* SQLite in memory: a table with an index is filled, searched, joined and changed. Built with Debian's SQLite as
 * sqlite3.c and SQLITE_OS_OTHER: the file system here opens nothing. */
#include "bench.h"

#include "sqlite3.h"

#include <stdio.h>

static int refuse(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *out)
{
	(void)vfs, (void)name, (void)flags, (void)out;
	file->pMethods = NULL;
	return SQLITE_CANTOPEN;
}

static int full(sqlite3_vfs *vfs, const char *name, int room, char *out)
{
	(void)vfs;
	return snprintf(out, room, "%s", name) < room ? SQLITE_OK : SQLITE_CANTOPEN;
}

static int missing(sqlite3_vfs *vfs, const char *name, int flags, int *out)
{
	(void)vfs, (void)name, (void)flags;
	*out = 0;
	return SQLITE_OK;
}

static int gone(sqlite3_vfs *vfs, const char *name, int sync)
{
	(void)vfs, (void)name, (void)sync;
	return SQLITE_OK;
}

static int zeros(sqlite3_vfs *vfs, int size, char *out)
{
	(void)vfs;
	memset(out, 0, size);
	return size;
}

static int no_sleep(sqlite3_vfs *vfs, int us)
{
	(void)vfs;
	return us;
}

static int noon(sqlite3_vfs *vfs, double *day)
{
	(void)vfs;
	*day = 2460000.5;
	return SQLITE_OK;
}

static sqlite3_vfs nothing = {
	.iVersion = 1, .szOsFile = sizeof(sqlite3_file), .mxPathname = 64, .zName = "nothing", .xOpen = refuse,
	.xDelete = gone, .xAccess = missing, .xFullPathname = full, .xRandomness = zeros, .xSleep = no_sleep,
	.xCurrentTime = noon,
};

int sqlite3_os_init(void)
{
	return sqlite3_vfs_register(&nothing, 1);
}

int sqlite3_os_end(void)
{
	return SQLITE_OK;
}

static uint32_t sum;

static int row(void *unused, int count, char **values, char **names)
{
	(void)unused, (void)names;
	for (int i = 0; i < count; i++)
		for (const char *c = values[i] ? values[i] : ""; *c; c++)
			sum = sum * 33 + (unsigned char)*c;
	return 0;
}

static uint32_t work(uint32_t rounds)
{
	static const char setup[] = "CREATE TABLE sensor(id INTEGER PRIMARY KEY, name TEXT, zone INT);"
				    "CREATE TABLE sample(sensor INT, at INT, value REAL); CREATE INDEX by_sensor ON sample(sensor, at);"
				    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20)"
				    " INSERT INTO sensor SELECT i, 'sensor ' || i, i % 4 FROM n;";
	static const char each[] = "BEGIN; DELETE FROM sample;"
				   "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 499)"
				   " INSERT INTO sample SELECT 1 + i % 20, i, (i * 7919 % 1000) / 10.0 FROM n;"
				   "UPDATE sample SET value = value + 1 WHERE at % 3 = 0; COMMIT;"
				   "SELECT name, count(*), round(avg(value), 2), max(at) FROM sample JOIN sensor ON sensor = id"
				   " WHERE zone < 3 GROUP BY name ORDER BY 3 DESC, name;"
				   "SELECT value FROM sample WHERE sensor = 7 AND at BETWEEN 100 AND 300 ORDER BY at;";
	sqlite3 *base;
	char *error = NULL;
	if (sqlite3_open(":memory:", &base) || sqlite3_exec(base, setup, row, NULL, &error))
		goto wrong;
	while (rounds--)
		if (sqlite3_exec(base, each, row, NULL, &error))
			goto wrong;
	sqlite3_close(base);
	return sum;
wrong:
	printf("%s\n", error ? error : sqlite3_errmsg(base));
	exit(1);
}
