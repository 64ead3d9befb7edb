package sanitize

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"strconv"
	"strings"
)

func geoJitterKind() kind {
	return kind{
		name: "geo_jitter", summary: "moves a place by up to metres and at least a quarter of that",
		params: []param{
			{name: "part", kind: paramChoice, values: []string{"latitude", "longitude"}, summary: "what a column of numbers holds, in degrees"},
			{name: "metres", kind: paramInt, least: 1, most: 200000, fallback: "500", summary: "the greatest distance"},
			{name: "latitude", kind: paramText, summary: "for part: longitude, the column with the latitude: a degree of longitude is shorter away from the equator"},
			{name: "order", kind: paramChoice, values: []string{"lonlat", "latlon"}, fallback: "lonlat", summary: "what comes first in a point"},
		},
		families: []family{familyNumeric, familyPoint},
		keyed:    true,
		bind:     bindGeo,
	}
}

// metresPerDegree is the length of a degree of latitude.
const metresPerDegree = 111_320.0

func bindGeo(a *arguments, t *target, key []byte) (binding, error) {
	part, metres := a.text("part"), float64(a.number("metres"))
	mapping := fmt.Sprintf("geo_jitter %s %.0f %s %s", part, metres, a.text("order"), t.base)
	if t.family == familyPoint {
		return bindPoint(a, t, key, metres, mapping)
	}
	if part == "" {
		return binding{}, &refusal{"a column of numbers holds a latitude or a longitude", "write part: latitude or part: longitude"}
	}
	// Both together move a place by at most metres.
	reach := metres / metresPerDegree / math.Sqrt2
	newMask := func() *geoMask {
		return &geoMask{prf: newPRF(key, t), reach: reach, most: map[string]float64{"latitude": 90, "longitude": 180}[part]}
	}
	column := a.text("latitude")
	if column == "" {
		return binding{make: func() maskFunc { return newMask().mask }, mapping: mapping}, nil
	}
	if part != "longitude" {
		return binding{}, &refusal{"only a longitude needs the latitude", "remove latitude"}
	}
	return binding{
		columns: []string{column},
		makeRow: func(row rowReader) maskFunc {
			m := newMask()
			return func(dst, value []byte) []byte {
				latitude, null := row.value(0)
				m.reach = reach
				if y, err := strconv.ParseFloat(string(latitude), 64); err == nil && !null {
					m.reach = reach / narrowing(y)
				}
				return m.mask(dst, value)
			}
		},
		mapping: mapping + " with " + t.path,
	}, nil
}

// narrowing is how much shorter a degree of longitude is than one of latitude, at most a hundred times.
func narrowing(latitude float64) float64 {
	return math.Max(math.Cos(latitude*math.Pi/180), 0.01)
}

// geoMask moves one coordinate.
type geoMask struct {
	prf   *prf
	reach float64 // degrees
	most  float64 // 90 or 180
}

// offset returns a number from -1 to -1/4 or from 1/4 to 1.
func offset(b []byte) float64 {
	x := binary.BigEndian.Uint32(b)
	distance := 0.25 + 0.75*float64(x>>1)/float64(math.MaxInt32)
	if x&1 == 1 {
		return -distance
	}
	return distance
}

// within brings a coordinate back into its range: beyond 180 degrees is the other side, beyond a pole the way back.
func within(x, most float64) float64 {
	switch {
	case most == 180 && x > most:
		return x - 360
	case most == 180 && x < -most:
		return x + 360
	case x > most:
		return 2*most - x
	case x < -most:
		return -2*most - x
	default:
		return x
	}
}

// leastDecimals is about a metre.
const leastDecimals = 5

// mask writes as many decimals as the value has, and leastDecimals at least. What is no coordinate becomes 0.
func (m *geoMask) mask(dst, value []byte) []byte {
	x, err := strconv.ParseFloat(string(value), 64)
	if err != nil || math.IsNaN(x) || math.Abs(x) > m.most {
		return append(dst, '0')
	}
	decimals := leastDecimals
	if dot := bytes.IndexByte(value, '.'); dot >= 0 && !bytes.ContainsAny(value, "eE") {
		decimals = max(decimals, len(value)-dot-1)
	}
	sum := m.prf.of(value)
	return strconv.AppendFloat(dst, within(x+offset(sum[:4])*m.reach, m.most), 'f', decimals, 64)
}

func bindPoint(a *arguments, t *target, key []byte, metres float64, mapping string) (binding, error) {
	if a.has("part") || a.has("latitude") {
		return binding{}, &refusal{"a point holds both coordinates", "remove part and latitude"}
	}
	postgis := t.base != "point"
	if formatted := strings.ToLower(strings.ReplaceAll(t.column.Type, " ", "")); postgis && !strings.HasSuffix(formatted, "(point,4326)") {
		return binding{}, &refusal{t.column.Type + " is not declared to hold points in degrees", "use null, or keep; geo_jitter works on point and on (Point,4326) of PostGIS"}
	}
	latFirst := a.text("order") == "latlon" && !postgis
	return binding{
		make: func() maskFunc {
			m := &pointMask{prf: newPRF(key, t), reach: metres / metresPerDegree / math.Sqrt2, latFirst: latFirst}
			if postgis {
				return m.maskEWKB
			}
			return m.mask
		},
		mapping: mapping,
	}, nil
}

// pointMask moves points.
type pointMask struct {
	prf      *prf
	reach    float64
	latFirst bool
	raw      []byte
}

// mask reads "(x,y)".
func (m *pointMask) mask(dst, value []byte) []byte {
	comma := bytes.IndexByte(value, ',')
	if comma < 1 || value[0] != '(' || value[len(value)-1] != ')' {
		return append(dst, "(0,0)"...)
	}
	x, errX := strconv.ParseFloat(string(value[1:comma]), 64)
	y, errY := strconv.ParseFloat(string(value[comma+1:len(value)-1]), 64)
	if errX != nil || errY != nil {
		return append(dst, "(0,0)"...)
	}
	x, y = m.move(x, y, m.prf.of(value))
	dst = strconv.AppendFloat(append(dst, '('), x, 'f', 7, 64)
	dst = strconv.AppendFloat(append(dst, ','), y, 'f', 7, 64)
	return append(dst, ')')
}

// move takes and returns the coordinates in the order of the point.
func (m *pointMask) move(x, y float64, sum *[32]byte) (float64, float64) {
	if m.latFirst {
		x, y = y, x
	}
	if math.IsNaN(x) || math.IsNaN(y) || math.Abs(x) > 180 || math.Abs(y) > 90 {
		return 0, 0
	}
	lon := within(x+offset(sum[:4])*m.reach/narrowing(y), 180)
	lat := within(y+offset(sum[4:8])*m.reach, 90)
	if m.latFirst {
		return lat, lon
	}
	return lon, lat
}

// ewkbPoint is the head of a little-endian point with a reference system (PostGIS, "EWKB").
const ewkbPoint = "0101000020"

// maskEWKB reads PostGIS's own text form: hexadecimal EWKB.
func (m *pointMask) maskEWKB(dst, value []byte) []byte {
	const size = 1 + 4 + 4 + 8 + 8
	m.raw = append(m.raw[:0], make([]byte, size)...)
	if len(value) == 2*size && string(value[:len(ewkbPoint)]) == ewkbPoint {
		if _, err := hex.Decode(m.raw, value); err == nil {
			x, y := math.Float64frombits(binary.LittleEndian.Uint64(m.raw[9:])), math.Float64frombits(binary.LittleEndian.Uint64(m.raw[17:]))
			x, y = m.move(x, y, m.prf.of(value))
			binary.LittleEndian.PutUint64(m.raw[9:], math.Float64bits(x))
			binary.LittleEndian.PutUint64(m.raw[17:], math.Float64bits(y))
			return appendUpperHex(dst, m.raw)
		}
	}
	copy(m.raw, "\x01\x01\x00\x00\x20\xe6\x10\x00\x00") // 4326, at 0 0
	clear(m.raw[9:])
	return appendUpperHex(dst, m.raw)
}

func appendUpperHex(dst, raw []byte) []byte {
	start := len(dst)
	dst = hex.AppendEncode(dst, raw)
	for i := start; i < len(dst); i++ {
		if dst[i] >= 'a' {
			dst[i] -= 'a' - 'A'
		}
	}
	return dst
}
