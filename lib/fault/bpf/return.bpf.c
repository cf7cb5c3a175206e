// SPDX-License-Identifier: Apache-2.0
/*
 * return - the two filters of a delay engine's TAP
 *
 * return_mark sits at the TAP's ingress as a plain classifier whose mirred action sends every
 * packet back to the device it came from; the token tells the gate there that it has been here.
 *
 * return_admit sits at the TAP's egress as a direct-action filter and lets only redirected packets
 * in: they carry the index of the device they were taken from, while what the namespace's own
 * stack says over the TAP (listener reports, router solicitations) carries none and would be sent
 * out of the target's device.
 */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_helpers.h>

const volatile __u16 return_token = 0;

SEC("tc")
int return_mark(struct __sk_buff *skb)
{
	skb->tc_index = return_token;
	return -1;
}

SEC("tc")
int return_admit(struct __sk_buff *skb)
{
	return skb->ingress_ifindex ? TC_ACT_OK : TC_ACT_SHOT;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
