-- Where the generated people get their names from. Everything is a function of a number, so that tables that are filled
-- at the same time agree with each other. Dropped when production is filled.
CREATE SCHEMA generate;

-- pick(n, salt, words) is one of the words, the same one every time.
CREATE FUNCTION generate.pick(n bigint, salt bigint, words text[]) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
$$ SELECT words[1 + abs(hashint8extended(n, salt) % cardinality(words))] $$;

CREATE FUNCTION generate.digits(n bigint, salt bigint, width integer) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
$$ SELECT lpad((abs(hashint8extended(n, salt)) % (10::bigint ^ width)::bigint)::text, width, '0') $$;

CREATE FUNCTION generate.first_name(n bigint) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
SELECT generate.pick(n, 1, '{Aaliyah,Abel,Ada,Adeel,Agnes,Ahmed,Aiko,Aisha,Alejandro,Alva,Amara,Amit,Anneliese,Anouk,Arjun,Astrid,Aurora,Bartosz,
Beatriz,Bence,Birgit,Bruno,Camille,Carmen,Chen,Chidi,Claudia,Cosimo,Dagny,Damir,Dimitra,Dolores,Eero,Eilidh,Elif,Emeka,Enrique,Esra,Eva,Farid,
Fatima,Fiona,Fumiko,Gabor,Giulia,Gloria,Gustav,Hana,Haruto,Helga,Ibrahim,Ilse,Imani,Ines,Ivan,Jadwiga,Jamal,Jelena,Joaquin,Johanna,Kalani,Karim,
Katarzyna,Kenji,Kofi,Lars,Leila,Liang,Ligia,Lucia,Magnus,Malik,Marisol,Mehmet,Mireille,Nadia,Naoki,Ngozi,Niamh,Olga,Omar,Paloma,Pavel,Priya,
Quentin,Rashid,Renata,Rohan,Saoirse,Selma,Sofia,Stefan,Svea,Tadeusz,Tamara,Thandiwe,Tomasz,Ursula,Valentina,Wanjiru,Xavier,Yara,Yusuf,Zofia}')
$$;

CREATE FUNCTION generate.last_name(n bigint) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
SELECT generate.pick(n, 2, '{Abara,Adeyemi,Almeida,Andersson,Arslan,Bakker,Balogh,Banerjee,Barros,Bauer,Bianchi,Blanchard,Borg,Brennan,Bui,
Calder,Castellano,Chukwu,Conti,Costa,Cruz,Dalgaard,Delacroix,Demir,Dubois,Ekström,Eriksen,Esposito,Farouk,Fernandes,Ferrari,Fischer,Fontaine,
Fujita,Gallagher,Garcia,Gruber,Gupta,Haddad,Hansen,Haugen,Herrera,Hoffmann,Horvat,Ibarra,Ito,Ivanova,Jankowski,Jensen,Kaplan,Kato,Keller,
Khan,Kimura,Koivisto,Kovač,Kowalska,Kumar,Lambert,Larsen,Lehmann,Lindqvist,Lopes,MacLeod,Malik,Marchetti,Martins,Mbeki,Mendoza,Moreau,
Müller,Murphy,Nakamura,Navarro,Ndiaye,Nguyen,Nilsen,Novak,Nowak,O''Connor,Okafor,Oliveira,Orlov,Ortiz,Owusu,Pace,Park,Petrov,Popescu,Quinn,Rahman,
Ramos,Reyes,Ricci,Rossi,Ruiz,Saito,Santos,Schneider,Silva,Singh,Sokolov,Suzuki,Szabó,Tanaka,Torres,Tran,Ueda,Varga,Vasquez,Virtanen,Wagner,
Weber,Wójcik,Yamada,Yilmaz,Zhang,Zimmermann}')
$$;

CREATE FUNCTION generate.email(n bigint) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
SELECT lower(generate.first_name(n)) || '.' || lower(replace(generate.last_name(n), '''', '')) || n || '@'
    || generate.pick(n, 3, '{mailbox.example,post.example,inbox.example,webmail.example,letters.example,corp.example,studio.example}')
$$;

-- Every fiftieth customer has the number of the one before: families share a telephone.
CREATE FUNCTION generate.phone(n bigint) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
SELECT generate.pick(m, 4, '{+44 7700,+49 151,+33 6,+34 612,+39 347,+48 601,+46 70,+1 555,+81 90,+234 803}')
    || ' ' || generate.digits(m, 5, 3) || ' ' || generate.digits(m, 6, 4)
FROM (SELECT CASE WHEN n % 50 = 0 THEN n - 1 ELSE n END AS m) AS household
$$;

CREATE FUNCTION generate.city(n bigint) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
SELECT generate.pick(n, 7, '{Aarhus,Accra,Bergen,Bilbao,Bologna,Bordeaux,Bristol,Brno,Cork,Dresden,Enugu,Espoo,Gdańsk,Ghent,Girona,Graz,Izmir,
Kobe,Kraków,Lagos,Leeds,Leipzig,Linz,Lisbon,Ljubljana,Lund,Lyon,Malmö,Marseille,Nagoya,Nairobi,Nantes,Oslo,Oulu,Padua,Pécs,Porto,Pune,Rennes,Riga,
Rotterdam,Sapporo,Sevilla,Split,Tampere,Tartu,Toulouse,Trieste,Trondheim,Turin,Turku,Uppsala,Utrecht,Valencia,Varna,Vilnius,Zagreb}')
$$;

CREATE FUNCTION generate.street(n bigint) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
SELECT (1 + abs(hashint8extended(n, 8) % 180)) || ' '
    || generate.pick(n, 9, '{Abbey,Acacia,Alder,Baker,Beech,Bridge,Canal,Castle,Cedar,Chapel,Cherry,Church,Clock Tower,Dock,Elm,Foundry,Garden,
Harbour,Hazel,Hill,King,Lake,Lighthouse,Linden,Market,Meadow,Mill,Museum,North,Oak,Orchard,Park,Poplar,Quarry,Queen,River,Rose,School,Spring,
Station,Sunset,Tannery,University,Valley,Walnut,Weaver,Willow}')
    || ' ' || generate.pick(n, 10, '{Street,Road,Lane,Avenue,Way,Square,Court,Row}')
$$;

-- A moment in the year, in the order of n.
CREATE FUNCTION generate.moment(n bigint, of bigint) RETURNS timestamptz LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
$$ SELECT timestamptz '2025-01-01 00:00+00' + n * (interval '180 days' / of) $$;

CREATE FUNCTION generate.ip(n bigint) RETURNS inet LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
$$ SELECT '203.0.0.0'::inet + (abs(hashint8extended(n, 11)) % 16000000) $$;

-- Everybody, made once and looked up wherever they appear.
CREATE UNLOGGED TABLE generate.people AS
SELECT n, generate.first_name(n) AS first_name, generate.last_name(n) AS last_name, generate.email(n) AS email, generate.phone(n) AS phone
FROM generate_series(1, 150000) AS n;
ANALYZE generate.people;
