// The price as one types: in the shop, of a monthly plan, and for visitors. What a page has no place
// for is left out. Every sentence comes from the page (data-text-*), none from here.
import { formats, fromSlider, parseCredits, quote, toSlider } from './pricing.js';
import { watchPromo } from './promo.js';

const form = document.querySelector('[data-price]');
const plan = JSON.parse(document.getElementById('plan').textContent);
const lang = document.documentElement.lang;
const { number, money, each } = formats(lang, plan.currency);
const signed = (cents) => (cents < 0 ? `\u2212${money(-cents)}` : money(cents));
const filled = (text, values) => text.replace(/\{(\w+)\}/g, (_, key) => values[key]);
const texts = document.getElementById('texts');
const text = (name) => texts.getAttribute(`data-text-${name}`);
const fill = (name, values = {}) => filled(text(name), values);
// A sentence in the form that this number takes.
const rules = new Intl.PluralRules(lang);
const count = (n, name, values) =>
  filled(text(`${name}-${rules.select(n)}`) ?? text(`${name}-other`), values);

const { credits: amount, mode, request_id: request, expected_total: expected } = form.elements;
const slider = form.querySelector('.range');
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
  if (Number.isNaN(credits)) return fill('no-number');
  if (credits < plan.min) return fill('too-small');
  if (credits > plan.max) return fill('too-large');
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

// Only the shop has a field for a code.
const promo = form.elements.promo_code && watchPromo(form, {
  order: () => {
    const credits = parseCredits(amount.value);
    return {
      credits: problemWith(credits) ? NaN : credits, isMonthly: mode.value === 'subscription',
    };
  },
  show, toggle, announce, say: { fill, count, number },
});

const render = ({ typing = false, quiet = false } = {}) => {
  const credits = parseCredits(amount.value);
  const problem = problemWith(credits);
  const isMonthly = mode?.value === 'subscription';
  show('every', isMonthly ? fill('monthly') : '');
  show('button', fill(isMonthly ? 'subscribe' : 'pay'));
  if (problem) {
    // While one types, "1" on the way to "1234" is no mistake yet.
    const isUnfinished = credits < plan.min || amount.value.trim() === '';
    if (!(typing && isUnfinished) || field.classList.contains('bad')) {
      showProblem(problem);
      announce(problem);
    }
    for (const name of ['count', 'order', 'list', 'each', 'total']) show(name, '–');
    mark(document.querySelectorAll('[data-tier], [data-pick]'), () => false);
    for (const name of ['deal', 'minimum', 'raised', 'discount']) toggle(name, false);
    if (expected) expected.value = '';
    promo?.update();
    return;
  }
  showProblem('');
  const price = quote(credits, plan);
  const values = { count: number(credits), total: money(price.total) };
  show('count', count(credits, 'credits', values));
  show('order', count(credits, isMonthly ? 'credits-monthly' : 'credits', values));
  show('list', money(price.list_total));
  show('each', each(price.unit_price));
  show('total', money(price.total));
  toggle('raised', price.minimum_charge_applied);
  toggle('discount', price.discount_percent > 0 && !price.minimum_charge_applied);
  show('percent', fill('percent', { percent: price.discount_percent }));
  show('difference', signed(price.total - price.list_total));
  mark(document.querySelectorAll('[data-tier]'), (row) => Number(row.dataset.tier) === price.tier.min);
  mark(form.querySelectorAll('[data-pick]'), (link) => Number(link.dataset.pick) === credits);
  const deal = price.better_deal;
  toggle('deal', deal !== null);
  toggle('minimum', price.minimum_charge_applied && deal === null);
  let offer = '';
  if (deal) {
    const better = {
      credits: number(deal.credits), total: money(deal.total), saves: money(deal.saves),
      least: money(plan.minimum_charge), now: number(credits),
    };
    const sameName = price.minimum_charge_applied ? 'minimum' : 'same';
    offer = count(deal.credits, deal.saves ? 'cheaper' : sameName, better);
    show('offer', offer);
    show('switch', fill('switch', better));
    outputs('switch').forEach((link) => {
      link.dataset.pick = deal.credits;
      link.href = href(deal.credits);
    });
  }
  if (slider) {
    slider.value = toSlider(credits, plan);
    slider.setAttribute('aria-valuetext', count(credits, 'credits', values));
  }
  // The server refuses to charge anything but what is on this page.
  if (expected) expected.value = price.total;
  promo?.update();
  linkBack();
  if (!quiet) announce(`${count(credits, 'cost', values)} ${offer}`);
};

const href = (credits) => filled(form.dataset.link, { credits, mode: mode?.value })
  + (promo?.code() ? `&promo=${encodeURIComponent(promo.code())}` : '');
// Who has to sign in first comes back to this order.
const linkBack = () => outputs('signin').forEach((link) => {
  const back = new URL(href(parseCredits(amount.value)), location.href);
  const target = new URL(link.href);
  target.searchParams.set('next', back.pathname + back.search);
  link.href = target;
});
const set = (credits) => {
  amount.value = number(credits);
  newRequest();
  render();
};

// One request id is one order: a new one as soon as the order is another.
const newRequest = () => { if (request) request.value = crypto.randomUUID(); };

amount.addEventListener('input', () => { newRequest(); render({ typing: true }); });
amount.addEventListener('change', () => {
  const credits = parseCredits(amount.value);
  if (!problemWith(credits)) amount.value = number(credits);
  render();
});
form.elements.promo_code?.addEventListener('input', () => { newRequest(); linkBack(); });
slider?.addEventListener('input', () => set(fromSlider(Number(slider.value), plan)));
for (const radio of mode ?? []) radio.addEventListener('change', () => { newRequest(); render(); });
form.addEventListener('click', (event) => {
  const pick = event.target.closest('[data-pick]');
  if (!pick) return;
  event.preventDefault();
  set(Number(pick.dataset.pick));
  // An offer that was taken by keyboard is gone, and the focus with it. (No keyboard on a phone.)
  if (event.detail === 0 && pick.closest('[hidden]')) amount.focus();
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
});
addEventListener('pageshow', (event) => {
  if (!event.persisted) return; // Back from Stripe to the page as it was left
  setBusy(false);
  newRequest();
  render({ quiet: true });
});

// Enter submits by the first button in the form: here that must be the one that goes on.
form.querySelector('.nojs-only').remove();

const bar = document.querySelector('.paybar');
if (bar) {
  new IntersectionObserver(([entry]) => { bar.inert = entry.isIntersecting; })
    .observe(form.querySelector('aside [data-submit]'));
}

const ticks = document.querySelector('[data-ticks]');
const picks = [...form.querySelectorAll('.picks [data-pick]')].map((link) => Number(link.dataset.pick));
const short = new Intl.NumberFormat(lang, { notation: 'compact' });
for (const value of ticks ? [plan.min, plan.max, ...picks] : []) {
  const tick = document.createElementNS('http://www.w3.org/2000/svg', 'text');
  tick.setAttribute('x', `${toSlider(value, plan) / 10}%`);
  tick.setAttribute('y', '14');
  tick.setAttribute('text-anchor', { [plan.min]: 'start', [plan.max]: 'end' }[value] ?? 'middle');
  tick.textContent = short.format(value);
  const others = [...ticks.children].map((other) => other.getBoundingClientRect());
  ticks.append(tick);
  // Not every language shortens thousands: a number that would touch another is left out.
  const { left, right } = tick.getBoundingClientRect();
  if (others.some((other) => left < other.right + 4 && right > other.left - 4)) tick.remove();
}

// What was typed before this ran is not on the page yet; what the server has refused stays as it is.
if (amount.value !== amount.defaultValue || !field.classList.contains('bad')) render({ quiet: true });
