-- What PostGraphile reads from the database, since it derives its schema from there.
COMMENT ON TABLE listing_versions IS '@foreignKey (listing_id) references listings (id)';

CREATE FUNCTION search_listings(words text, wanted text) RETURNS SETOF listings STABLE LANGUAGE sql AS $$
    SELECT * FROM listings
    WHERE search @@ websearch_to_tsquery('english', words) AND base_model = wanted AND status = 'published'
    ORDER BY published_at DESC, id DESC
$$;
