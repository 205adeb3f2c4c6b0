// The price as one types. Every sentence comes from the page (data-text-*), none from here.
import { fromSlider, parseCredits, quote, toSlider } from './pricing.js';

const form = document.querySelector('[data-buy]');
const plan = JSON.parse(document.getElementById('plan').textContent);
const lang = document.documentElement.lang;
const currency = plan.currency.toUpperCase();
const number = (value) => new Intl.NumberFormat(lang).format(value);
const money = (cents) =>
  new Intl.NumberFormat(lang, { style: 'currency', currency }).format(cents / 100);
const each = (price) =>
  `$${Math.floor(price / 10000)}.${String(price % 10000).padStart(4, '0')}`;
const fill = (name, values) =>
  form.dataset[`text${name}`].replace(/\{(\w+)\}/g, (_, key) => values[key]);

const amount = form.elements.credits;
const slider = form.elements.slider;
const field = amount.closest('.field');
const outputs = (name) => document.querySelectorAll(`[data-out="${name}"]`);
const show = (name, text) => outputs(name).forEach((one) => { one.textContent = text; });
const toggle = (name, visible) => outputs(name).forEach((one) => { one.hidden = !visible; });

let announcement;
const announce = (text) => {
  clearTimeout(announcement);
  announcement = setTimeout(() => show('live', text), 600);
};

const problemWith = (credits) => {
  if (Number.isNaN(credits)) return fill('NoNumber', {});
  if (credits < plan.min) return fill('TooSmall', { min: number(plan.min) });
  if (credits > plan.max) return fill('TooLarge', { max: number(plan.max) });
  return '';
};

const showProblem = (text) => {
  show('problem', text);
  field.classList.toggle('bad', text !== '');
  if (text) amount.setAttribute('aria-invalid', 'true');
  else amount.removeAttribute('aria-invalid');
};

const mark = (elements, isCurrent) => elements.forEach((one) => {
  if (isCurrent(one)) one.setAttribute('aria-current', 'true');
  else one.removeAttribute('aria-current');
});

const render = ({ typing = false, quiet = false } = {}) => {
  const credits = parseCredits(amount.value);
  const problem = problemWith(credits);
  const isMonthly = form.elements.mode.value === 'subscription';
  if (problem) {
    // While one types, "1" on the way to "1234" is no mistake yet.
    if (!typing || field.classList.contains('bad')) showProblem(problem);
    show('total', '–');
    toggle('deal', false);
    toggle('minimum', false);
    form.elements.expected_total.value = '';
    return;
  }
  showProblem('');
  const price = quote(credits, plan);
  show('count', number(credits));
  show('list', money(price.list_total));
  show('each', each(price.unit_price));
  show('total', money(price.total));
  show('every', isMonthly ? fill('Monthly', {}) : '');
  show('button', isMonthly ? fill('Subscribe', {}) : fill('Pay', {}));
  toggle('discount', price.discount_percent > 0);
  show('percent', String(price.discount_percent));
  show('less', money(price.total - price.list_total));
  toggle('minimum', price.minimum_charge_applied);
  mark(form.querySelectorAll('[data-tier]'), (row) => Number(row.dataset.tier) === price.tier.min);
  mark(form.querySelectorAll('[data-pick]'), (link) => Number(link.dataset.pick) === credits);
  const deal = price.better_deal;
  toggle('deal', deal !== null);
  let offer = '';
  if (deal) {
    const values = {
      credits: number(deal.credits), total: money(deal.total), saves: money(deal.saves),
      now: number(credits),
    };
    offer = fill(deal.saves ? 'Cheaper' : 'Same', values);
    show('offer', offer);
    show('switch', fill('Switch', values));
    outputs('switch').forEach((link) => { link.dataset.pick = deal.credits; link.href = href(deal.credits); });
  }
  slider.value = toSlider(credits, plan);
  slider.setAttribute('aria-valuetext', fill('Credits', { count: number(credits) }));
  // The server refuses to charge anything but what is on this page.
  form.elements.expected_total.value = price.total;
  outputs('signin').forEach((link) => {
    const back = new URL(href(credits), location.href);
    const target = new URL(link.href);
    target.searchParams.set('next', back.pathname + back.search);
    link.href = target;
  });
  if (!quiet) announce(`${fill('Credits', { count: number(credits) })}: ${money(price.total)}. ${offer}`);
};

const href = (credits) => `?credits=${credits}&mode=${form.elements.mode.value}`;
const set = (credits, options) => {
  amount.value = number(credits);
  changed();
  render(options);
};

// One request id is one order: a new one as soon as the order is another.
const newRequest = () => { form.elements.request_id.value = crypto.randomUUID(); };
const changed = () => { if (form.dataset.sent !== undefined) newRequest(); };

amount.addEventListener('input', () => { changed(); render({ typing: true }); });
amount.addEventListener('change', () => {
  const credits = parseCredits(amount.value);
  if (!problemWith(credits)) amount.value = number(credits);
  render();
});
slider.addEventListener('input', () => set(fromSlider(Number(slider.value), plan)));
for (const radio of form.elements.mode) radio.addEventListener('change', () => { changed(); render(); });
form.addEventListener('click', (event) => {
  const pick = event.target.closest('[data-pick]');
  if (!pick) return;
  event.preventDefault();
  set(Number(pick.dataset.pick));
  amount.focus();
});

// Three clicks make one purchase: here, and by the request id on the server.
const buttons = document.querySelectorAll('[data-submit]');
let busy = false;
const setBusy = (on) => {
  busy = on;
  buttons.forEach((button) => {
    if (on) button.setAttribute('aria-busy', 'true');
    else button.removeAttribute('aria-busy');
  });
};
form.addEventListener('submit', (event) => {
  const problem = problemWith(parseCredits(amount.value));
  if (problem || busy) {
    event.preventDefault();
    if (problem) { showProblem(problem); amount.focus(); }
    return;
  }
  setBusy(true);
  form.dataset.sent = '';
});
addEventListener('pageshow', (event) => {
  if (!event.persisted) return; // Back from Stripe to the page as it was left
  setBusy(false);
  newRequest();
  render({ quiet: true });
});

const bar = document.querySelector('.paybar');
new IntersectionObserver(([entry]) => { bar.hidden = entry.isIntersecting; })
  .observe(form.querySelector('aside [data-submit]'));

render({ quiet: true });
