-- A marketplace of some size: 200 sellers with 20,000 published listings of 3 versions each, and 200 deployments for
-- each of the buyers, who have signed up before. Rows are written in the order of their times, as they would come in.

SELECT setseed(0.7);

CREATE TEMP TABLE vocabulary AS
SELECT string_to_array(
    'account address agenda airline album almanac anchor apartment apology appliance archive article athlete auction'
    ' autumn bakery ballad bank barley battery bicycle billing biology birthday booking border botany bridge brief'
    ' budget cabin calendar campaign candle captain carbon career carpet catalogue ceramic chapter charity checkout'
    ' chemistry choir cinema claim clinic climate clinical coach coffee comet comedy compass complaint concert contract'
    ' cooking copper coral cottage council courier court cricket crossword customer dairy dataset debate delivery dental'
    ' desert diary dictionary diplomat discount doctor donation drama drawing election electric email embassy energy'
    ' engine essay estate excursion export fable factory farming fashion ferry festival fiction finance fishing flight'
    ' folklore forecast forest fossil furniture gallery garden geology glacier glossary grammar granite greeting grocery'
    ' guitar harbour harvest headline hiking history holiday horizon hospital hotel housing humour hydrogen import'
    ' insurance interview invoice island jazz journal journey jury kitchen laboratory language laundry lawyer legal'
    ' lesson letter library lighthouse limerick lottery luggage lyric magazine mailing market medical melody memo menu'
    ' mining mirror monologue mountain museum music mystery navigation negotiation novel nursing obituary ocean onboarding'
    ' opera orchard order parcel passport pension pharmacy philosophy photo physics piano poetry policy portrait postcard'
    ' proverb puzzle railway recipe refund rental report research restaurant returns riddle river safety sailing satire'
    ' school science sonnet speech stadium summary support survey tariff teacher theatre thermal ticket tourism translation'
    ' travel treaty tutorial university vaccine valley vehicle village violin voyage warranty weather wedding wildlife'
    ' winter workshop',
    ' '
) AS words;

CREATE TEMP TABLE models AS
SELECT place, name
FROM unnest(ARRAY[
    'meadow/lark-1b', 'meadow/lark-3b', 'quarry/flint-1b', 'quarry/flint-7b', 'harbour/gull-2b', 'harbour/gull-8b'
]) WITH ORDINALITY AS model (name, place);

INSERT INTO base_models (
    name, repository, revision, licence, parameters, context_length, train_price, input_price, output_price, created_at
)
SELECT name, name, 'main', 'apache-2.0', 1000000000, 4096, 0.4, 0.1, 0.2, now()
FROM models;

CREATE TEMP TABLE shops AS
SELECT place, gen_random_uuid() AS tenant_id, format('shop-%s', place) AS namespace, format('Shop %s', place) AS name
FROM generate_series(1, 200) AS place;

INSERT INTO tenants (id, name, slug, created_at)
SELECT tenant_id, name, namespace, '2025-12-01'
FROM shops;

INSERT INTO sellers (tenant_id, namespace, name)
SELECT tenant_id, namespace, name
FROM shops;

CREATE TEMP TABLE offers AS
WITH drawn AS (
    SELECT offer, place, words[1 + floor(random() * cardinality(words))::int] AS word
    FROM vocabulary, generate_series(1, 20000) AS offer, generate_series(1, 10) AS place
),
texts AS (
    SELECT
        offer,
        initcap(string_agg(word, ' ' ORDER BY place) FILTER (WHERE place <= 3)) AS title,
        'Trained on ' || string_agg(word, ', ' ORDER BY place) FILTER (WHERE place > 3) || '.' AS description,
        1 + floor(random() * 200)::int AS shop,
        1 + floor(random() * 6)::int AS model,
        timestamptz '2026-01-01' + offer * interval '13 minutes' + random() * interval '1 minute' AS published_at
    FROM drawn
    GROUP BY offer
)
SELECT
    offer, title, description, tenant_id, models.name AS base_model, published_at,
    format('%s-%s', replace(lower(title), ' ', '-'), offer) AS name,
    uuidv7(published_at - now()) AS listing_id,
    uuidv7(published_at - now()) AS adapter_id
FROM texts
JOIN shops ON shops.place = texts.shop
JOIN models ON models.place = texts.model
ORDER BY offer;

INSERT INTO adapters (id, tenant_id, name, base_model_id, created_at)
SELECT adapter_id, tenant_id, offers.name, base_models.id, published_at
FROM offers
JOIN base_models ON base_models.name = offers.base_model
ORDER BY offer;

INSERT INTO listings (
    id, tenant_id, adapter_id, name, title, description, licence, price, currency, status, published_at, base_model
)
SELECT
    listing_id, tenant_id, adapter_id, name, title, description,
    (ARRAY['apache-2.0', 'mit', 'cc-by-4.0', 'openrail'])[1 + offer % 4],
    500 + 100 * (offer % 95), 'usd', 'published', published_at, base_model
FROM offers
ORDER BY offer;

INSERT INTO listing_versions (
    id, tenant_id, listing_id, number, digest, base_model, manifest, files, object_prefix, created_at
)
SELECT
    uuidv7(released_at - now()), tenant_id, listing_id, number, digest, base_model,
    jsonb_build_object('rank', 16, 'metrics', jsonb_build_object('loss', 1.25)),
    jsonb_build_array(jsonb_build_object('path', 'adapter_model.safetensors', 'size', 1048576, 'sha256', digest)),
    format('adapters/%s/%s', adapter_id, number), released_at
FROM offers
CROSS JOIN generate_series(1, 3) AS number
CROSS JOIN LATERAL (
    SELECT
        published_at + (number - 1) * interval '30 days' AS released_at,
        encode(sha256(convert_to(format('%s %s', offer, number), 'UTF8')), 'hex') AS digest
) AS release
ORDER BY released_at;

INSERT INTO deployments (id, tenant_id, name, base_model_id, digest, object_prefix, created_at)
SELECT
    uuidv7(deployed_at - now()), buyers.id, format('chat-%s', number), base_models.id,
    CASE WHEN number % 5 > 0 THEN encode(sha256(convert_to(format('chat %s', number), 'UTF8')), 'hex') END,
    CASE WHEN number % 5 > 0 THEN format('adapters/%s', number) END, deployed_at
FROM (SELECT id, row_number() OVER (ORDER BY slug) AS place FROM tenants WHERE slug LIKE 'buyer-%') AS buyers
CROSS JOIN generate_series(1, 200) AS number
JOIN models ON models.place = 1 + number % 6
JOIN base_models ON base_models.name = models.name
CROSS JOIN LATERAL (
    SELECT timestamptz '2026-01-01' + number * interval '1 day' + buyers.place * interval '1 minute' AS deployed_at
) AS deployment
ORDER BY deployed_at;
