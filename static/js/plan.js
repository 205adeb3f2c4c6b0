// The price of another monthly amount as one types, as in credits.js. Every sentence comes from the
// page (data-text-*), none from here.
import { formats, parseCredits, quote } from './pricing.js';

const form = document.querySelector('[data-change]');
const plan = JSON.parse(document.getElementById('plan').textContent);
const { number, money, each } = formats(document.documentElement.lang, plan.currency);
const fill = (name, values) =>
  form.dataset[`text${name}`].replace(/\{(\w+)\}/g, (_, key) => values[key]);

const amount = form.elements.credits;
const out = (name) => form.querySelector(`[data-out="${name}"]`);
let announcement;
const announce = (text) => {
  clearTimeout(announcement);
  announcement = setTimeout(() => { out('live').textContent = text; }, 600);
};

const problemWith = (credits) => {
  if (Number.isNaN(credits)) return fill('NoNumber', {});
  if (credits < plan.min) return fill('TooSmall', { min: number(plan.min) });
  if (credits > plan.max) return fill('TooLarge', { max: number(plan.max) });
  return '';
};

const showProblem = (text) => {
  out('problem').textContent = text;
  amount.closest('.field').classList.toggle('bad', text !== '');
  if (text) amount.setAttribute('aria-invalid', 'true');
  else amount.removeAttribute('aria-invalid');
};

const render = () => {
  const credits = parseCredits(amount.value);
  const problem = problemWith(credits);
  const price = problem ? null : quote(credits, plan);
  out('total').textContent = price ? money(price.total) : '–';
  out('each').textContent = price ? each(price.unit_price) : '–';
  // The server refuses any price but the one on this page.
  form.elements.expected_total.value = price ? price.total : '';
  for (const pick of form.querySelectorAll('.picks [data-pick]')) {
    if (Number(pick.dataset.pick) === credits) pick.setAttribute('aria-current', 'true');
    else pick.removeAttribute('aria-current');
  }
  const deal = price?.better_deal;
  out('deal').hidden = !deal;
  let offer = '';
  if (deal) {
    const values = {
      credits: number(deal.credits), total: money(deal.total), saves: money(deal.saves),
      now: number(credits),
    };
    offer = fill(deal.saves ? 'Cheaper' : 'Same', values);
    out('offer').textContent = offer;
    out('switch').textContent = fill('Switch', values);
    out('switch').dataset.pick = deal.credits;
    out('switch').href = `?credits=${deal.credits}#change`;
  }
  if (problem) {
    // While one types, "1" on the way to "1234" is no mistake yet.
    const isUnfinished = credits < plan.min || amount.value.trim() === '';
    if (isUnfinished && !amount.hasAttribute('aria-invalid')) return;
    showProblem(problem);
    announce(problem);
    return;
  }
  showProblem('');
  announce(`${fill('Credits', { count: number(credits) })}: ${money(price.total)}. ${offer}`);
};

amount.addEventListener('input', render);
amount.addEventListener('change', () => showProblem(problemWith(parseCredits(amount.value))));
form.addEventListener('click', (event) => {
  const pick = event.target.closest('[data-pick]');
  if (!pick) return;
  event.preventDefault();
  amount.value = number(pick.dataset.pick);
  render();
  // An offer that was taken by keyboard is gone, and the focus with it.
  if (event.detail === 0 && pick.closest('[hidden]')) amount.focus();
});

let busy = false;
form.addEventListener('submit', (event) => {
  const problem = problemWith(parseCredits(amount.value));
  if (problem || busy) {
    event.preventDefault();
    if (problem) { showProblem(problem); amount.focus(); }
    return;
  }
  busy = true;
  form.querySelector('[data-submit]').setAttribute('aria-busy', 'true');
});
addEventListener('pageshow', (event) => {
  if (!event.persisted) return;
  busy = false;
  form.querySelector('[data-submit]').removeAttribute('aria-busy');
});

// Enter submits by the first button in the form: here that must be the one that changes.
form.querySelector('[value=price]').remove();

// What was typed before this ran is not on the page yet.
if (amount.value !== amount.defaultValue) render();
