-- What a price list may say, and when it may still change.

-- A meter's first list may hold from this month on, as there is nothing yet that it would price anew.
-- Any later one begins in a month that no event can be of: they come up to five minutes early.
CREATE FUNCTION usage_is_fixed(p_begins_on date) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT p_begins_on <= ((transaction_timestamp() + interval '1 hour') AT TIME ZONE 'UTC')::date
$$;

CREATE FUNCTION usage_guard_tariff() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        IF usage_is_fixed(OLD.begins_on)
            OR EXISTS (SELECT FROM usage_month WHERE tariff_id = OLD.id) THEN
            RAISE EXCEPTION 'A price list that has begun, or was used, never changes'
                USING ERRCODE = 'restrict_violation';
        END IF;
        IF TG_OP = 'DELETE' THEN
            RETURN OLD;
        END IF;
    END IF;
    -- One list of a meter at a time: each must see the one before it.
    PERFORM FROM usage_meter WHERE id = NEW.meter_id FOR NO KEY UPDATE;
    IF usage_is_fixed(NEW.begins_on) AND (
        NEW.begins_on < date_trunc('month', transaction_timestamp() AT TIME ZONE 'UTC')
        OR TG_OP = 'UPDATE'
        OR EXISTS (SELECT FROM usage_tariff WHERE meter_id = NEW.meter_id AND id <> NEW.id)
    ) THEN
        RAISE EXCEPTION 'A price list begins in a coming month, or as the first of its meter now'
            USING ERRCODE = 'restrict_violation';
    END IF;
    NEW.created_at := transaction_timestamp();
    RETURN NEW;
END $$;
CREATE TRIGGER usage_tariff_guard BEFORE INSERT OR UPDATE OR DELETE ON usage_tariff
    FOR EACH ROW EXECUTE FUNCTION usage_guard_tariff();

CREATE FUNCTION usage_guard_band() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    v_tariff usage_tariff;
BEGIN
    FOR v_tariff IN
        SELECT * FROM usage_tariff
        WHERE id IN (CASE WHEN TG_OP <> 'INSERT' THEN OLD.tariff_id END,
                     CASE WHEN TG_OP <> 'DELETE' THEN NEW.tariff_id END)
        FOR UPDATE
    LOOP
        -- Its bands are written after it, in the same transaction.
        IF EXISTS (SELECT FROM usage_month WHERE tariff_id = v_tariff.id)
            OR (usage_is_fixed(v_tariff.begins_on)
                AND v_tariff.created_at <> transaction_timestamp()) THEN
            RAISE EXCEPTION 'A price list that has begun, or was used, never changes'
                USING ERRCODE = 'restrict_violation';
        END IF;
    END LOOP;
    RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
END $$;
CREATE TRIGGER usage_band_guard BEFORE INSERT OR UPDATE OR DELETE ON usage_band
    FOR EACH ROW EXECUTE FUNCTION usage_guard_band();

-- A band ends where the next begins, so a list is whole when it has one above 0. Checked when the
-- transaction commits: its rows come one by one.
CREATE FUNCTION usage_check_bands() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    v_tariff bigint;
BEGIN
    IF TG_TABLE_NAME = 'usage_tariff' THEN
        v_tariff := NEW.id;
    ELSE
        v_tariff := OLD.tariff_id;
    END IF;
    IF EXISTS (SELECT FROM usage_tariff WHERE id = v_tariff)
        AND NOT EXISTS (SELECT FROM usage_band WHERE tariff_id = v_tariff AND above = 0) THEN
        RAISE EXCEPTION 'The first band of a price list begins above 0 units'
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER usage_tariff_has_bands AFTER INSERT ON usage_tariff
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION usage_check_bands();
CREATE CONSTRAINT TRIGGER usage_bands_stay_whole AFTER UPDATE OR DELETE ON usage_band
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION usage_check_bands();

-- A month keeps its price list, which is one of its meter, and only grows. So does a day.
ALTER TABLE usage_tariff ADD CONSTRAINT usage_tariff_of_meter UNIQUE (meter_id, id);
ALTER TABLE usage_month ADD CONSTRAINT usage_month_of_tariff
    FOREIGN KEY (meter_id, tariff_id) REFERENCES usage_tariff (meter_id, id);
CREATE FUNCTION usage_only_grows() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' OR NEW.units < OLD.units OR NEW.charged < OLD.charged
        OR to_jsonb(NEW) - ARRAY['units', 'charged'] <> to_jsonb(OLD) - ARRAY['units', 'charged']
    THEN
        RAISE EXCEPTION '% only grows', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER usage_month_only_grows BEFORE UPDATE OR DELETE ON usage_month
    FOR EACH ROW EXECUTE FUNCTION usage_only_grows();
CREATE TRIGGER usage_day_only_grows BEFORE UPDATE OR DELETE ON usage_day
    FOR EACH ROW EXECUTE FUNCTION usage_only_grows();

-- What was reported stays reported.
CREATE FUNCTION usage_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: report what was used anew', TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER usage_event_append_only BEFORE UPDATE OR DELETE ON usage_event
    FOR EACH ROW EXECUTE FUNCTION usage_refuse_change();
CREATE TRIGGER usage_event_no_truncate BEFORE TRUNCATE ON usage_event
    FOR EACH STATEMENT EXECUTE FUNCTION usage_refuse_change();

-- Room on the page for the next version of rows that every event updates: no index changes then.
ALTER TABLE usage_month SET (fillfactor = 70);
ALTER TABLE usage_day SET (fillfactor = 70);
