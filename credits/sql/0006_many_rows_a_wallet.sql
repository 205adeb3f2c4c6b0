-- Several indexes of these tables begin with the wallet. While most wallets have a row or two, any of
-- them looks as good as the one that also names the key or the id; chosen then, and kept in the plans
-- of the connections, it reads every row of the wallet that has thousands. So PostgreSQL is told that
-- a wallet has many: 100 to one, which is what a ledger grows to, and never makes the exact index
-- look dearer.
ALTER TABLE credits_entry ALTER COLUMN wallet_id SET (n_distinct = -0.01);
ALTER TABLE credits_lot ALTER COLUMN wallet_id SET (n_distinct = -0.01);
ALTER TABLE credits_hold ALTER COLUMN wallet_id SET (n_distinct = -0.01);
ANALYZE credits_entry, credits_lot, credits_hold;
