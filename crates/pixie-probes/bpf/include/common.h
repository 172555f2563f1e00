/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef PIXIE_COMMON_H
#define PIXIE_COMMON_H

#include "kernel.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "abi.h"
#include "account.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Keeps the layouts of events in the object's BTF, where a test compares them with src/abi.rs. */
union any_event {
	struct event event;
	struct datagram_event datagram;
	struct open_unix_event open;
	struct secure_event secure;
} *layouts = NULL;

#endif
