-- Count credits against a key's limit; whether it leaves as many. Of two transactions the second waits
-- for the first, so the limit is exact however many come at once.
CREATE FUNCTION accounts_charge(p_key bigint, p_begins_on date, p_credits bigint, p_limit bigint)
RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO accounts_apikeyspending AS spending (key_id, begins_on, credits)
        SELECT p_key, p_begins_on, p_credits WHERE p_credits <= p_limit
        ON CONFLICT (key_id, begins_on) DO UPDATE SET credits = spending.credits + excluded.credits
            WHERE spending.credits + excluded.credits <= p_limit;
    RETURN FOUND;
END $$;
