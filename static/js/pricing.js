// The server's prices (billing/pricing.py), computed as one types: integers only, same tiers.
// The server decides; a test compares the two for every amount.

// A whole number as people write it: 5000, 5,000 or 5 000; in German 5.000. Anything else is NaN: 5.5
// is not 55. The server reads the same (credits/numbers.py), a test compares.
export const parseCredits = (text, lang = document.documentElement.lang) => {
  const group = new Intl.NumberFormat(lang).formatToParts(1e6).find(({ type }) => type === 'group');
  const signs = ` '\u00a0\u202f\u2019${group?.value ?? ''}`.replace(/[\]\\^-]/g, '\\$&');
  const grouped = new RegExp(`^[1-9][0-9]{0,2}([${signs}])[0-9]{3}(\\1[0-9]{3})*$`);
  const trimmed = text.trim();
  if (trimmed.length > 20 || !(/^[0-9]+$/.test(trimmed) || grouped.test(trimmed))) return NaN;
  return Number(trimmed.replace(/[^0-9]/g, ''));
};

// How numbers and money are written: cents as dollars, a unit price in ten-thousandths of one.
export const formats = (lang, code) => {
  const currency = code.toUpperCase();
  const dollars = (options) => new Intl.NumberFormat(lang, { style: 'currency', currency, ...options });
  return {
    number: (value) => new Intl.NumberFormat(lang).format(value),
    money: (cents) => dollars({}).format(cents / 100),
    each: (price) => dollars({ minimumFractionDigits: 4 }).format(price / 10000),
  };
};

// Cents, rounded half up. A unit price is in ten-thousandths of the major unit.
const price = (credits, tier) => Math.floor((credits * tier.unit_price + 50) / 100);

export const quote = (credits, plan) => {
  const tier = plan.tiers.find((one) => credits >= one.min && credits <= one.max);
  const base = plan.tiers[0].unit_price;
  const total = Math.max(price(credits, tier), plan.minimum_charge);
  return {
    credits,
    tier,
    unit_price: tier.unit_price,
    discount_percent: Math.floor(((base - tier.unit_price) * 100) / base),
    list_total: price(credits, plan.tiers[0]),
    total,
    minimum_charge_applied: price(credits, tier) < plan.minimum_charge,
    better_deal: betterDeal(credits, total, plan),
  };
};

// More credits that cost no more: where a tier begins, or all that the minimum charge pays for.
const betterDeal = (credits, total, plan) => {
  const minimum = plan.minimum_charge;
  const offers = plan.tiers.map((tier) => [Math.max(price(tier.min, tier), minimum), tier.min]);
  for (const tier of plan.tiers) {
    const most = Math.min(tier.max, Math.floor((100 * minimum + 49) / tier.unit_price));
    if (most >= tier.min) offers.push([minimum, most]);
  }
  const [best] = offers
    .filter(([cost, amount]) => amount > credits && cost <= total)
    .sort((a, b) => a[0] - b[0] || b[1] - a[1]);
  return best ? { credits: best[1], total: best[0], saves: total - best[0] } : null;
};

// The slider is logarithmic: 0 to 1000 for the smallest to the largest amount, to round numbers.
const round = (amount) => {
  const step = 10 ** Math.max(0, Math.floor(Math.log10(amount)) - 1);
  return Math.round(amount / step) * step;
};
const clamp = (amount, { min, max }) => Math.min(max, Math.max(min, amount));
export const fromSlider = (place, plan) =>
  clamp(round(plan.min * (plan.max / plan.min) ** (place / 1000)), plan);
export const toSlider = (amount, plan) =>
  Math.round((1000 * Math.log(clamp(amount, plan) / plan.min)) / Math.log(plan.max / plan.min));
