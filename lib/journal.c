/*
 * One SQLite database holds two tables: runs, and the undo records of their faults.
 *
 * Write-ahead logging with synchronous=FULL: a commit is one append and one fsync, where the
 * rollback journal needs three, and `status` in another process reads without stopping the
 * writer. A full disk fails the append; what was committed before stays readable, because the log
 * is checksummed frame by frame.
 *
 * Records carry the boot id: nothing that a fault changed outlives the kernel it was changed in,
 * so a record of an earlier boot needs no revert.
 */
#include "journal.h"

#include "base/clock.h"
#include "base/private_dir.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>

enum { BUSY_TIMEOUT_MS = 10000 };

/* Pages that do not fit go to the log early; a run writes each page once, so more buys nothing. */
#define CACHE_KIB "256"

/* What leads from each format to the next; a new database goes through them all. */
static const char *const formats[] = {
	"CREATE TABLE runs(id TEXT PRIMARY KEY, experiment TEXT NOT NULL, state TEXT NOT NULL,"
	" verdict TEXT, started_ns INTEGER NOT NULL, ended_ns INTEGER NOT NULL DEFAULT 0,"
	" pid INTEGER NOT NULL, boot_id TEXT NOT NULL, record TEXT);"
	"CREATE TABLE undo(id INTEGER PRIMARY KEY, run_id TEXT NOT NULL REFERENCES runs(id),"
	" fault TEXT NOT NULL, target TEXT NOT NULL, driver TEXT NOT NULL, data TEXT NOT NULL,"
	" before TEXT, netns_dev INTEGER NOT NULL, netns_ino INTEGER NOT NULL,"
	" undone_ns INTEGER NOT NULL DEFAULT 0);"
	"CREATE INDEX undo_by_run ON undo(run_id);"
	"CREATE INDEX undo_pending ON undo(id) WHERE undone_ns = 0;"
	"PRAGMA user_version = 1;",

	/* Records of before have no cookie (0), and are known by their number alone. */
	"ALTER TABLE undo ADD COLUMN netns_cookie INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE undo ADD COLUMN added_ns INTEGER NOT NULL DEFAULT 0;"
	"PRAGMA user_version = 2;",
};
enum { FORMAT = ARRAY_SIZE(formats) };

struct journal {
	sqlite3 *db;
	char *path;
	char boot_id[CLOCK_BOOT_ID_MAX];
};

static void finalize(sqlite3_stmt **s)
{
	sqlite3_finalize(*s);
}
#define autostmt __attribute__((cleanup(finalize))) sqlite3_stmt

/* The errno that says best what SQLite ran into. */
static int code_of(sqlite3 *db)
{
	int sys = sqlite3_system_errno(db);

	switch (sqlite3_errcode(db)) {
	case SQLITE_FULL:
		return sys ? sys : ENOSPC;
	case SQLITE_READONLY:
		return EROFS;
	case SQLITE_BUSY:
		return EBUSY;
	case SQLITE_CONSTRAINT:
		return EEXIST;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		return EBADMSG;
	default:
		return sys ? sys : EIO;
	}
}

static int fail(struct journal *j, const char *doing, struct err *e)
{
	int code = code_of(j->db);

	err_set(e, code, "journal %s: %s: %s", j->path, doing,
		code == EBADMSG || code == EIO ? sqlite3_errmsg(j->db) : strerror(code));
	switch (code) {
	case ENOSPC:
	case EDQUOT:
	case EIO: /* SQLite's word for a write beyond a file size limit, too */
		err_hint(e, "free some space there, or choose another --state-dir");
		break;
	case EROFS:
	case EACCES:
		err_hint(e, "make it writable, or choose another --state-dir");
		break;
	case EBADMSG:
		err_hint(e, "it holds the only undo of runs whose owner and guard are dead (brunt "
			    "recover lists them): keep it, try sqlite3 brunt.db .recover, and only "
			    "then move it away");
		break;
	}
	return -code;
}

static int prepare(struct journal *j, const char *sql, sqlite3_stmt **ret, struct err *e)
{
	if (sqlite3_prepare_v2(j->db, sql, -1, ret, NULL) != SQLITE_OK)
		return fail(j, "prepare", e);
	return 0;
}

static void bind_text(sqlite3_stmt *s, int i, const char *text)
{
	sqlite3_bind_text(s, i, text, -1, SQLITE_TRANSIENT);
}

/* 1 a row, 0 no more rows. */
static int step(struct journal *j, sqlite3_stmt *s, const char *doing, struct err *e)
{
	switch (sqlite3_step(s)) {
	case SQLITE_ROW:
		return 1;
	case SQLITE_DONE:
		return 0;
	}
	return fail(j, doing, e);
}

static int execute(struct journal *j, const char *sql, const char *doing, struct err *e)
{
	return sqlite3_exec(j->db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : fail(j, doing, e);
}

static int begin(struct journal *j, struct err *e)
{
	return execute(j, "BEGIN IMMEDIATE", "begin", e);
}

/* Ends the transaction: commits when r says so far so good, else leaves nothing of it behind. */
static int end(struct journal *j, int r, struct err *e)
{
	if (r >= 0)
		r = execute(j, "COMMIT", "commit", e);
	if (r < 0 && !sqlite3_get_autocommit(j->db))
		sqlite3_exec(j->db, "ROLLBACK", NULL, NULL, NULL);
	return r;
}

static int read_version(struct journal *j, int *ret, struct err *e)
{
	autostmt *s = NULL;

	if (prepare(j, "PRAGMA user_version", &s, e) < 0 || step(j, s, "read version", e) < 0)
		return -e->code;
	*ret = sqlite3_column_int(s, 0);
	return 0;
}

static int bring_up_to_date(struct journal *j, struct err *e)
{
	int version = 0, r;

	r = begin(j, e);
	if (r < 0)
		return r;
	r = read_version(j, &version, e); /* another process may have been first */
	for (; r == 0 && version < FORMAT; version++)
		r = execute(j, formats[version], "bring tables up to date", e);
	return end(j, r, e);
}

static int check_schema(struct journal *j, struct err *e)
{
	int version, r;

	r = read_version(j, &version, e);
	if (r < 0)
		return r;
	if (version > FORMAT)
		return err_set(e, EPROTO, "journal %s was written by a newer brunt (format %d)",
			       j->path, version);
	return version < FORMAT ? bring_up_to_date(j, e) : 0;
}

static int fail_dir(const char *dir, const struct err *why, struct err *e)
{
	bool named = strncmp(why->text, dir, strlen(dir)) == 0;

	err_set(e, why->code, "state directory %s%s%s", named ? "" : dir, named ? "" : ": ", why->text);
	return err_hint(e, "%s", why->hint[0] ? why->hint : "choose a writable place with --state-dir or "
							    "BRUNT_STATE_DIR");
}

/* Only root and its like may read what is injected where, and nobody else may say what is to be
 * undone. */
static int open_dir(struct journal *j, const char *dir, struct err *e)
{
	static const char *const files[] = {"", "-wal", "-shm", "-journal"};
	struct err why = {0};
	int r = private_dir_make(dir, &why);

	if (r == 0 && access(dir, W_OK) < 0)
		r = err_errno(&why, errno, "%s", dir);
	if (r < 0)
		return fail_dir(dir, &why, e);
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		autofree char *path = xasprintf("%s%s", j->path, files[i]);
		r = private_file_check(path, &why);
		if (r < 0 && r != -ENOENT)
			return fail_dir(dir, &why, e);
	}
	return 0;
}

int journal_open(const char *state_dir, struct journal **ret, struct err *e)
{
	autoptr(journal) j = xcalloc(1, sizeof *j);
	struct err local = {0};
	int r;

	e = e ? e : &local;
	j->path = xasprintf("%s/brunt.db", state_dir);
	r = open_dir(j, state_dir, e);
	if (r < 0)
		return r;
	r = clock_boot_id(j->boot_id);
	if (r < 0)
		return err_errno(e, -r, "boot id");
	if (sqlite3_open_v2(j->path, &j->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL) !=
	    SQLITE_OK)
		return fail(j, "open", e);
	sqlite3_busy_timeout(j->db, BUSY_TIMEOUT_MS);
	r = execute(j, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
		       "PRAGMA cache_size=-" CACHE_KIB ";", "open", e);
	if (r == 0)
		r = check_schema(j, e);
	if (r < 0)
		return r;
	*ret = take(j);
	return 0;
}

void journal_close(struct journal *j)
{
	if (!j)
		return;
	sqlite3_close(j->db);
	free(j->path);
	free(j);
}

int journal_run_begin(struct journal *j, const char *run_id, const char *experiment, struct err *e)
{
	autostmt *s = NULL;
	int r;

	r = prepare(j, "INSERT INTO runs(id, experiment, state, started_ns, pid, boot_id)"
		       " VALUES(?,?,'running',?,?,?)", &s, e);
	if (r < 0)
		return r;
	bind_text(s, 1, run_id);
	bind_text(s, 2, experiment);
	sqlite3_bind_int64(s, 3, clock_wall_ns());
	sqlite3_bind_int64(s, 4, getpid());
	bind_text(s, 5, j->boot_id);
	return step(j, s, "begin run", e);
}

static int insert_undo(struct journal *j, sqlite3_stmt *s, const char *run_id, struct undo *u,
		       struct err *e)
{
	int r;

	sqlite3_reset(s);
	bind_text(s, 1, run_id);
	bind_text(s, 2, u->fault);
	bind_text(s, 3, u->target);
	bind_text(s, 4, u->driver->kind);
	bind_text(s, 5, u->data ? u->data : "{}");
	bind_text(s, 6, u->before);
	sqlite3_bind_int64(s, 7, (sqlite3_int64)u->netns_id.dev);
	sqlite3_bind_int64(s, 8, (sqlite3_int64)u->netns_id.ino);
	sqlite3_bind_int64(s, 9, (sqlite3_int64)u->netns_id.cookie);
	sqlite3_bind_int64(s, 10, clock_wall_ns());
	r = step(j, s, "append", e);
	if (r == 0)
		u->id = sqlite3_last_insert_rowid(j->db);
	return r;
}

int journal_append(struct journal *j, const char *run_id, struct undo *undo, size_t n,
		   struct err *e)
{
	autostmt *s = NULL;
	int r;

	r = begin(j, e);
	if (r < 0)
		return r;
	r = prepare(j, "INSERT INTO undo(run_id, fault, target, driver, data, before, netns_dev,"
		       " netns_ino, netns_cookie, added_ns) VALUES(?,?,?,?,?,?,?,?,?,?)", &s, e);
	for (size_t i = 0; r == 0 && i < n; i++)
		r = insert_undo(j, s, run_id, &undo[i], e);
	r = end(j, r, e);
	for (size_t i = 0; r < 0 && i < n; i++)
		undo[i].id = 0;
	return r;
}

int journal_mark_undone(struct journal *j, const int64_t *ids, size_t n, struct err *e)
{
	autostmt *s = NULL;
	int r;

	r = begin(j, e);
	if (r < 0)
		return r;
	r = prepare(j, "UPDATE undo SET undone_ns = ? WHERE id = ?", &s, e);
	for (size_t i = 0; r == 0 && i < n; i++) {
		sqlite3_reset(s);
		sqlite3_bind_int64(s, 1, clock_wall_ns());
		sqlite3_bind_int64(s, 2, ids[i]);
		r = step(j, s, "mark undone", e);
	}
	return end(j, r, e);
}

static char *column_dup(sqlite3_stmt *s, int i)
{
	return xstrdup((const char *)sqlite3_column_text(s, i));
}

static void read_undo(struct journal *j, sqlite3_stmt *s, struct undo *u)
{
	u->id = sqlite3_column_int64(s, 0);
	u->run_id = column_dup(s, 1);
	u->fault = column_dup(s, 2);
	u->target = column_dup(s, 3);
	u->driver = fault_driver_by_kind((const char *)sqlite3_column_text(s, 4));
	u->data = column_dup(s, 5);
	u->before = column_dup(s, 6);
	u->netns_id.dev = (uint64_t)sqlite3_column_int64(s, 7);
	u->netns_id.ino = (uint64_t)sqlite3_column_int64(s, 8);
	u->netns_id.cookie = (uint64_t)sqlite3_column_int64(s, 9);
	u->netns_fd = -1;
	u->earlier_boot = !streq((const char *)sqlite3_column_text(s, 10), j->boot_id);
	u->added_ns = sqlite3_column_int64(s, 11);
}

int journal_pending(struct journal *j, const char *run_id, struct undo_list *ret, struct err *e)
{
	autostmt *s = NULL;
	int r;

	r = prepare(j, "SELECT u.id, run_id, fault, target, driver, data, before, netns_dev,"
		       " netns_ino, netns_cookie, boot_id, added_ns FROM undo u JOIN runs ON runs.id = run_id"
		       " WHERE undone_ns = 0 AND (?1 IS NULL OR run_id = ?1) ORDER BY u.id DESC",
		    &s, e);
	if (r < 0)
		return r;
	bind_text(s, 1, run_id);
	while ((r = step(j, s, "read pending", e)) > 0)
		read_undo(j, s, array_push(ret->items, ret->n));
	return r;
}

/*
 * A record of a thousand targets is a megabyte of JSON. As one string it would be there three times
 * over, here and in SQLite; so its length is counted first, and it is then written piece by piece
 * into a blob of that length.
 */
struct blob_writer {
	sqlite3_blob *blob;
	int at;
	size_t n;
	char piece[4096];
};

static int count_bytes(const char *text, size_t len, void *data)
{
	*(size_t *)data += len;
	return 0;
}

static int flush_piece(struct blob_writer *w)
{
	int r = sqlite3_blob_write(w->blob, w->piece, (int)w->n, w->at);

	w->at += (int)w->n;
	w->n = 0;
	return r == SQLITE_OK ? 0 : -1;
}

static int write_bytes(const char *text, size_t len, void *data)
{
	struct blob_writer *w = data;

	while (len > 0) {
		size_t n = MIN_OF(len, sizeof w->piece - w->n);

		memcpy(w->piece + w->n, text, n);
		w->n += n;
		text += n;
		len -= n;
		if (w->n == sizeof w->piece && flush_piece(w) < 0)
			return -1;
	}
	return 0;
}

/* Makes room for the record; *ret_row is where. */
static int make_room(struct journal *j, const char *run_id, const json_t *record,
		     sqlite3_int64 *ret_row, struct err *e)
{
	autostmt *s = NULL;
	size_t len = 0;
	int r;

	json_dump_callback(record, count_bytes, &len, JSON_COMPACT);
	r = prepare(j, "UPDATE runs SET record = zeroblob(?) WHERE id = ? RETURNING rowid", &s, e);
	if (r < 0)
		return r;
	sqlite3_bind_int64(s, 1, (sqlite3_int64)len);
	bind_text(s, 2, run_id);
	r = step(j, s, "write record", e);
	if (r <= 0)
		return r < 0 ? r : err_set(e, ENOENT, "no run \"%s\"", run_id);
	*ret_row = sqlite3_column_int64(s, 0);
	return 0;
}

static int write_record(struct journal *j, const char *run_id, const json_t *record, struct err *e)
{
	struct blob_writer w = {0};
	sqlite3_int64 row = 0;
	int r = 0;

	if (make_room(j, run_id, record, &row, e) < 0)
		return -e->code;
	if (sqlite3_blob_open(j->db, "main", "runs", "record", row, 1, &w.blob) != SQLITE_OK)
		return fail(j, "write record", e);
	if (json_dump_callback(record, write_bytes, &w, JSON_COMPACT) < 0 || flush_piece(&w) < 0)
		r = fail(j, "write record", e);
	if (sqlite3_blob_close(w.blob) != SQLITE_OK && r == 0)
		r = fail(j, "write record", e);
	return r;
}

static int close_run(struct journal *j, const char *run_id, const char *state,
		     const char *verdict, struct err *e)
{
	autostmt *s = NULL;
	int r;

	r = prepare(j, "UPDATE runs SET state = ?, verdict = ?, ended_ns = ? WHERE id = ?", &s, e);
	if (r < 0)
		return r;
	bind_text(s, 1, state);
	bind_text(s, 2, verdict);
	sqlite3_bind_int64(s, 3, clock_wall_ns());
	bind_text(s, 4, run_id);
	return step(j, s, "end run", e);
}

int journal_run_end(struct journal *j, const char *run_id, const char *state, const char *verdict,
		    const json_t *record, struct err *e)
{
	int r;

	r = begin(j, e);
	if (r < 0)
		return r;
	r = close_run(j, run_id, state, verdict, e);
	if (r == 0 && record)
		r = write_record(j, run_id, record, e);
	return end(j, r, e);
}

static void read_run(sqlite3_stmt *s, struct run_row *r)
{
	r->id = column_dup(s, 0);
	r->experiment = column_dup(s, 1);
	r->state = column_dup(s, 2);
	r->verdict = column_dup(s, 3);
	r->started_ns = sqlite3_column_int64(s, 4);
	r->ended_ns = sqlite3_column_int64(s, 5);
	r->pid = sqlite3_column_int64(s, 6);
	r->boot_id = column_dup(s, 7);
	r->record = column_dup(s, 8);
}

void run_row_done(struct run_row *r)
{
	free(r->id);
	free(r->experiment);
	free(r->state);
	free(r->verdict);
	free(r->boot_id);
	free(r->record);
	*r = (struct run_row){0};
}

int journal_runs(struct journal *j, struct run_row **ret, size_t *ret_n, struct err *e)
{
	autostmt *s = NULL;
	int r;

	*ret = NULL;
	*ret_n = 0;
	r = prepare(j, "SELECT id, experiment, state, verdict, started_ns, ended_ns, pid, boot_id,"
		       " NULL FROM runs ORDER BY rowid DESC", &s, e);
	if (r < 0)
		return r;
	while ((r = step(j, s, "list runs", e)) > 0)
		read_run(s, array_push(*ret, *ret_n));
	return r;
}

int journal_run(struct journal *j, const char *run_id, struct run_row *ret, struct err *e)
{
	const char *prefix = streq(run_id, "latest") ? "" : run_id;
	autostmt *s = NULL;
	int r;

	r = prepare(j, "SELECT id, experiment, state, verdict, started_ns, ended_ns, pid, boot_id,"
		       " record FROM runs WHERE substr(id, 1, length(?1)) = ?1"
		       " ORDER BY id = ?1 DESC, rowid DESC", &s, e);
	if (r < 0)
		return r;
	bind_text(s, 1, prefix);
	r = step(j, s, "read run", e);
	if (r < 0)
		return r;
	if (r == 0)
		return *prefix ? err_set(e, ENOENT, "no run \"%s\"", run_id)
			       : err_set(e, ENOENT, "no run has been recorded yet");
	read_run(s, ret);
	if (!*prefix || streq(ret->id, prefix) || step(j, s, "read run", e) == 0)
		return 0;
	run_row_done(ret);
	return err_set(e, ENOTUNIQ, "several runs begin with \"%s\"", run_id);
}

int journal_prune(struct journal *j, size_t keep, struct err *e)
{
#define OLD_RUNS                                                                                   \
	"(SELECT id FROM runs WHERE state != 'running'"                                            \
	" AND id NOT IN (SELECT id FROM runs ORDER BY rowid DESC LIMIT %1$zu)"    \
	" AND id NOT IN (SELECT run_id FROM undo WHERE undone_ns = 0))"
	autofree char *sql = xasprintf("DELETE FROM undo WHERE run_id IN " OLD_RUNS ";"
				       "DELETE FROM runs WHERE id IN " OLD_RUNS ";", keep);
	int before = sqlite3_total_changes(j->db);
	int r;

	r = begin(j, e);
	if (r < 0)
		return r;
	r = end(j, execute(j, sql, "prune", e), e);
	return r < 0 ? r : sqlite3_total_changes(j->db) > before;
}
