package templates

import (
	"math/rand/v2"
	"strconv"
	"strings"
)

// builtinTypes are PostgreSQL's own, with their limits and what is special about each.
func builtinTypes() []randomType {
	types := []randomType{
		{"text", textOf},
		{"character varying", textOf},
		{"character varying(20)", cut(20)},
		{"character(12)", cut(12)},
		{"name", func(rnd *rand.Rand) string { return strings.ToValidUTF8(cut(15)(rnd), "") }},
		{"xml", func(rnd *rand.Rand) string {
			return []string{"", "text", "<a/>", "<a b=\"1\">x &amp; y\n</a>", "<?xml version=\"1.0\"?><a>é</a>", "<!-- c --><a/><b/>", "<a><![CDATA[<\\N>]]></a>"}[rnd.IntN(7)]
		}},
		{"bytea", bytesOf},
		{"bit(7)", bitsOf(7)},
		{"bit varying", bitsOf(0)},
		{"real", func(rnd *rand.Rand) string { return strconv.FormatFloat(float64(rnd.Float32()), 'g', -1, 32) }},
		{"double precision", floatOf},
		{"bigint", func(rnd *rand.Rand) string { return strconv.FormatInt(rnd.Int64(), 10) }},
		{"uuid", func(rnd *rand.Rand) string {
			return bitsOfUUID(rnd)
		}},
		{"json", jsonOf},
		{"jsonb", jsonOf},
		{"numeric", func(rnd *rand.Rand) string {
			return []string{
				"NaN", "0", "0.00", "-0.000000000000000000000000000000001", "1" + strings.Repeat("0", 3000), strings.Repeat("9", 300) + "." + strings.Repeat("7", 500), "Infinity", "-Infinity",
				strconv.FormatUint(rnd.Uint64(), 10) + ".10",
			}[rnd.IntN(9)]
		}},
	}
	types = append(types, numberTypes()...)
	types = append(types, timeTypes()...)
	types = append(types, shapeTypes()...)
	return append(types, searchTypes()...)
}

func bitsOfUUID(rnd *rand.Rand) string {
	h := strings.Repeat("0", 16) + strconv.FormatUint(rnd.Uint64(), 16)
	h = strconv.FormatUint(rnd.Uint64()|1<<63, 16) + h[len(h)-16:]
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

func numberTypes() []randomType {
	return []randomType{
		oneOf("boolean", "t", "f"),
		oneOf("smallint", "-32768", "0", "32767"),
		oneOf("integer", "-2147483648", "-1", "2147483647"),
		oneOf("oid", "0", "4294967295"),
		oneOf("real", "NaN", "Infinity", "-Infinity", "-0", "1e-45", "3.4028235e+38", "0.1"),
		oneOf("double precision", "NaN", "Infinity", "-Infinity", "-0", "5e-324", "1.7976931348623157e+308", "0.30000000000000004"),
		oneOf("numeric(20,5)", "0", "-1.5", "999999999999999.99999", "NaN"),
		oneOf("money", "0", "-92233720368547758.08", "92233720368547758.07", "0.01"),
		oneOf("inet", "0.0.0.0", "255.255.255.255/0", "10.1.2.3/8", "::", "::ffff:1.2.3.4", "fe80::1/64"),
		oneOf("cidr", "0.0.0.0/0", "10.0.0.0/8", "2001:db8::/32"),
		oneOf("macaddr", "00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff"),
		oneOf("macaddr8", "08:00:2b:01:02:03:04:05"),
		oneOf("pg_lsn", "0/0", "FFFFFFFF/FFFFFFFF", "16/B374D848"),
		oneOf("txid_snapshot", "10:20:10,14,15", "1:1:"),
		oneOf("pg_snapshot", "10:20:10,14,15", "1:1:"),
		oneOf("xid", "0", "4294967295"), oneOf("xid8", "18446744073709551615"), oneOf("cid", "7"), oneOf("tid", "(0,0)", "(4294967295,65535)"),
		oneOf("int2vector", "", "1 2 -3"), oneOf("oidvector", "", "1 2 4294967295"),
		oneOf(`"char"`, "", "a", `\`, " "),
		oneOf("regtype", "integer", "text[]"), oneOf("regproc", "now"), oneOf("refcursor", "", `a"b`),
	}
}

func timeTypes() []randomType {
	return []randomType{
		oneOf("date", "infinity", "-infinity", "4713-01-01 BC", "5874897-12-31", "0001-12-31 BC", "2024-02-29"),
		oneOf("time", "00:00:00", "24:00:00", "23:59:59.999999"),
		oneOf("time(2) with time zone", "24:00:00+15:59", "12:34:56.78-08", "00:00:00+00"),
		oneOf("time with time zone", "00:00:00-15:59:59", "23:59:59.999999+05:30"),
		oneOf("timestamp", "infinity", "-infinity", "4713-01-01 00:00:00 BC", "294276-12-31 23:59:59.999999", "2024-02-29 12:00:00.1"),
		oneOf("timestamp with time zone", "infinity", "-infinity", "4713-01-02 00:00:00+00 BC", "294276-12-31 23:59:59.999999+00", "1883-11-18 12:03:58+00"),
		oneOf("interval", "0", "178000000 years", "-178000000 years", "-1 mons +2 days -03:00:00.000001", "P1Y2M3DT4H5M6.7S", "1 year -1 day"),
		oneOf("interval day to second(3)", "1 day 02:03:04.567"),
	}
}

func shapeTypes() []randomType {
	types := []randomType{
		oneOf("point", "(0,0)", "(-1.5e300,NaN)", "(Infinity,-0)"),
		oneOf("line", "{1,-1,0}", "{0,1,-2.5}"),
		oneOf("lseg", "[(0,0),(1,1)]"),
		oneOf("box", "(1,1),(0,0)", "(-1,-1),(-2,-2)"),
		oneOf("path", "[(0,0),(1,1)]", "((0,0),(1,1),(2,0))"),
		oneOf("polygon", "((0,0),(1,1),(2,0))"),
		oneOf("circle", "<(0,0),5>", "<(1,2),0>"),
		oneOf("int4range", "empty", "(,)", "[1,)", "(,5]", "[-2147483648,2147483647)"),
		oneOf("int8range", "[1,2]", "empty"),
		oneOf("numrange", "[0.000,1)", "(,1.10]", "[NaN,NaN]"),
		oneOf("daterange", "[infinity,infinity]", "[2024-01-01,2024-02-01]", "(,)"),
		oneOf("tsrange", `["2024-01-01 00:00:00",)`, "[-infinity,infinity]"),
		oneOf("tstzrange", `["2024-01-01 00:00:00+00","2025-01-01 00:00:00+00")`, "empty"),
		oneOf("int4multirange", "{}", "{[1,2),[5,)}", "{(,)}"),
		oneOf("nummultirange", "{[1.50,2),(3,4]}"),
		oneOf("datemultirange", "{[2024-01-01,2024-02-01),[2025-01-01,)}"),
		oneOf("tstzmultirange", `{["2024-01-01 00:00:00+00","2025-01-01 00:00:00+00")}`),
	}
	return types
}

func searchTypes() []randomType {
	return []randomType{
		oneOf("tsvector", "", "'a':1A,2B 'b'", `'it''s' 'back\\slash':3 'two words':16383`),
		oneOf("tsquery", "", "'a' & !'b' | 'c':*A", "'a' <-> 'b' <3> 'c'"),
		oneOf("jsonpath", "$", `$."a b"[*] ? (@.c > 1 && @.d like_regex "^\\d+$")`, "strict $.a"),
		oneOf("regclass", "pg_class", "pg_catalog.pg_type"), oneOf("regnamespace", "pg_catalog"),
	}
}
