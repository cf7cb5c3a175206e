#include "committer.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <systemd/sd-event.h>

struct job {
	struct job *next;
	int (*work)(struct journal *j, void *arg, struct err *e);
	void (*done)(void *arg, int r, const struct err *e);
	void *arg;
	int r;
	struct err err;
};

struct queue {
	struct job *first, **last;
};

struct committer {
	struct journal *journal; /* the thread's, once it runs */
	pthread_t thread;
	bool started;
	pthread_mutex_t mutex; /* guards the queues and stop */
	pthread_cond_t wake;
	struct queue todo, finished;
	bool stop;
	int efd;
	sd_event_source *source;
};

static void push(struct queue *q, struct job *job)
{
	job->next = NULL;
	*q->last = job;
	q->last = &job->next;
}

static struct job *pop(struct queue *q)
{
	struct job *job = q->first;

	if (!job)
		return NULL;
	q->first = job->next;
	if (!q->first)
		q->last = &q->first;
	return job;
}

static struct job *wait_for_job(struct committer *c)
{
	struct job *job;

	pthread_mutex_lock(&c->mutex);
	while (!(job = pop(&c->todo)) && !c->stop)
		pthread_cond_wait(&c->wake, &c->mutex);
	pthread_mutex_unlock(&c->mutex);
	return job;
}

static void *thread_main(void *data)
{
	struct committer *c = data;
	struct job *job;

	while ((job = wait_for_job(c))) {
		job->r = job->work(c->journal, job->arg, &job->err);
		pthread_mutex_lock(&c->mutex);
		push(&c->finished, job);
		pthread_mutex_unlock(&c->mutex);
		eventfd_write(c->efd, 1);
	}
	return NULL;
}

static void call_finished(struct committer *c)
{
	struct job *job;

	for (;;) {
		pthread_mutex_lock(&c->mutex);
		job = pop(&c->finished);
		pthread_mutex_unlock(&c->mutex);
		if (!job)
			return;
		if (job->done)
			job->done(job->arg, job->r, &job->err);
		free(job);
	}
}

static int on_eventfd(sd_event_source *s, int fd, uint32_t revents, void *data)
{
	eventfd_t n;

	eventfd_read(fd, &n);
	call_finished(data);
	return 0;
}

static int start_thread(struct committer *c, struct err *e)
{
	sigset_t all, old;
	int r;

	/* Signals belong to the loop. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&c->thread, NULL, thread_main, c);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r)
		return err_errno(e, r, "journal thread");
	c->started = true;
	return 0;
}

int committer_start(const char *state_dir, struct sd_event *loop, struct committer **ret,
		    struct err *e)
{
	autoptr(committer) c = xcalloc(1, sizeof *c);
	int r;

	pthread_mutex_init(&c->mutex, NULL);
	pthread_cond_init(&c->wake, NULL);
	c->todo.last = &c->todo.first;
	c->finished.last = &c->finished.first;
	c->efd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (c->efd < 0)
		return err_errno(e, errno, "eventfd");
	r = journal_open(state_dir, &c->journal, e);
	if (r < 0)
		return r;
	r = sd_event_add_io(loop, &c->source, c->efd, EPOLLIN, on_eventfd, c);
	if (r < 0)
		return err_errno(e, -r, "journal completions");
	r = start_thread(c, e);
	if (r < 0)
		return r;
	*ret = take(c);
	return 0;
}

void committer_submit(struct committer *c, int (*work)(struct journal *j, void *arg, struct err *e),
		      void (*done)(void *arg, int r, const struct err *e), void *arg)
{
	struct job *job = xcalloc(1, sizeof *job);

	job->work = work;
	job->done = done;
	job->arg = arg;
	pthread_mutex_lock(&c->mutex);
	push(&c->todo, job);
	pthread_cond_signal(&c->wake);
	pthread_mutex_unlock(&c->mutex);
}

void committer_free(struct committer *c)
{
	if (!c)
		return;
	if (c->started) {
		pthread_mutex_lock(&c->mutex);
		c->stop = true;
		pthread_cond_signal(&c->wake);
		pthread_mutex_unlock(&c->mutex);
		pthread_join(c->thread, NULL);
		call_finished(c);
	}
	sd_event_source_unref(c->source);
	if (c->efd >= 0)
		close(c->efd);
	journal_close(c->journal);
	pthread_mutex_destroy(&c->mutex);
	pthread_cond_destroy(&c->wake);
	free(c);
}
