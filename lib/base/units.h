/*
 * units - text to numbers and back, in Chaos Mesh's and Kubernetes' own spelling
 *
 * Every parser reads the whole string, returns 0 or -EINVAL (-ERANGE when it does not fit) and
 * sets err to a sentence that quotes the text and says what is wanted. ret is written on success
 * only.
 */
#pragma once

#include "err.h"

#include <stdint.h>

/* A number and ns, us, µs, ms, s, m or h; parts may follow each other as in Go ("1m30s"). "0" needs
 * no unit. */
int units_parse_duration(const char *s, int64_t *ret_ns, struct err *e);

/* Chaos Mesh percentage: a float string 0..100 ("0.5", ".5", "5e-1"), with or without '%'. In
 * parts per million. */
int units_parse_percent(const char *s, uint32_t *ret_ppm, struct err *e);

/* uint + bit|kbit|mbit|gbit|tbit|bps|kbps|mbps|gbps|tbps; as in tc, bps is bytes per second and
 * the prefixes are decimal. Blanks and capitals make no difference. In bytes per second. */
int units_parse_rate(const char *s, uint64_t *ret_Bps, struct err *e);

/* Bytes: "256MB" and "256MiB" as Chaos Mesh reads them (both binary), Kubernetes quantities
 * ("128Mi" binary, "128M" decimal), or a plain number. */
int units_parse_size(const char *s, uint64_t *ret_bytes, struct err *e);

/* Kubernetes cpu quantity: "500m", "2", "0.5". In thousandths of a CPU. */
int units_parse_milli_cpu(const char *s, uint64_t *ret_milli, struct err *e);

/* Requests per time: "50/s", "600/m", "50". Per second. */
int units_parse_frequency(const char *s, double *ret_per_s, struct err *e);

/* A plain decimal number. */
int units_parse_double(const char *s, double *ret, struct err *e);
int units_parse_int(const char *s, int64_t *ret, struct err *e);

/* Formats for people, three significant digits: "1.20 s", "850 us", "70.0 MiB", "100 Mbit/s".
 * Each writes to buf, which holds at least UNITS_TEXT_MAX bytes, and returns buf. */
enum { UNITS_TEXT_MAX = 32 };
const char *units_duration(int64_t ns, char *buf);
const char *units_size(uint64_t bytes, char *buf);
const char *units_rate(uint64_t Bps, char *buf);
const char *units_percent(uint32_t ppm, char *buf);
