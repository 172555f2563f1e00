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

#endif
