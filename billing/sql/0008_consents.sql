-- What somebody has agreed to is evidence: it is neither changed nor removed.
CREATE FUNCTION billing_topupconsent_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'A consent to automatic top-up is never changed or removed.';
END $$;

CREATE TRIGGER billing_topupconsent_stays
    BEFORE UPDATE OR DELETE ON billing_topupconsent
    FOR EACH ROW EXECUTE FUNCTION billing_topupconsent_stays();
