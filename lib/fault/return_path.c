#include "return_path.h"

#include "../base/mem.h"
#include "../kernel/bpf.h"
#include "../kernel/tc.h"
#include "return.skel.h"

#include <errno.h>

struct return_path {
	struct return_bpf *bpf;
};

int return_path_load(uint16_t token, struct return_path **ret, struct err *e)
{
	autoptr(return_path) r = xcalloc(1, sizeof *r);

	bpf_quiet();
	r->bpf = return_bpf__open();
	if (!r->bpf)
		return err_errno(e, errno, "open the delay device's BPF programs");
	r->bpf->rodata->return_token = token;
	if (return_bpf__load(r->bpf) < 0)
		return err_errno(e, errno, "load the delay device's BPF programs");
	*ret = take(r);
	return 0;
}

void return_path_free(struct return_path *r)
{
	if (!r)
		return;
	return_bpf__destroy(r->bpf);
	free(r);
}

void return_path_attach(const struct return_path *r, const struct return_device *d,
			struct netlink_batch *b)
{
	const struct tc_bpf admit = {
		.ifindex = d->ifindex,
		.pref = 1,
		.handle = 1,
		.prog_fd = bpf_program__fd(r->bpf->progs.return_admit),
		.name = "brunt_admit",
	};
	const struct tc_bpf back = {
		.ifindex = d->ifindex,
		.ingress = true,
		.pref = 1,
		.handle = 1,
		.prog_fd = bpf_program__fd(r->bpf->progs.return_mark),
		.name = "brunt_return",
		.redirect_ifindex = d->to_ifindex,
		.redirect_ingress = d->to_ingress,
	};

	netlink_batch_add(b, tc_msg_add_clsact(d->ifindex), 0, "%s: add qdisc clsact", d->name);
	netlink_batch_add(b, tc_msg_add_bpf(&admit), 0, "%s: add filter admit", d->name);
	netlink_batch_add(b, tc_msg_add_bpf(&back), 0, "%s: add filter return", d->name);
}
