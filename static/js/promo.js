// A promo code as one types: what it brings is asked of the server, which decides. What the page
// shows is what the form expects, so until an answer is here it expects nothing.
const PAUSE = 700; // after a key; a code that is half typed would count as a guess
const SOON = 250; // after another amount

// `order` answers the credits, NaN where they are none, and whether monthly; `say` fills a text.
export const watchPromo = (form, { order, show, toggle, say, announce }) => {
  const { promo_code: input, expected_bonus: expected } = form.elements;
  const url = form.dataset.quote;
  const field = input.closest('.field');
  const bad = new Map(); // codes that are no good with any order, and why
  let timer;
  let asked = 0;
  let shown = null; // what was answered last: { code, credits, bonus, name }
  let refused = null; // and what brought nothing: { code, credits }

  const code = () => input.value.replace(/[\s\u2010-\u2015-]/g, '').toUpperCase();
  const problem = (text) => {
    show('promo-problem', text);
    field.classList.toggle('bad', text !== '');
    if (text) input.setAttribute('aria-invalid', 'true');
    else input.removeAttribute('aria-invalid');
  };
  const isAbout = (one) => one?.code === code() && one.credits === order().credits;
  const render = () => {
    const { credits, isMonthly } = order();
    const fits = isAbout(shown);
    toggle('bonus-row', fits);
    toggle('gets', fits);
    expected.value = fits ? shown.bonus : 0;
    if (!fits) return;
    show('bonus-name', say.fill('bonus-name', { code: shown.name }));
    show('bonus', say.count(shown.bonus, 'bonus', { bonus: say.number(shown.bonus) }));
    const all = credits + shown.bonus;
    show('gets', say.count(all, isMonthly ? 'gets-monthly' : 'gets', { all: say.number(all) }));
  };

  const ask = async () => {
    clearTimeout(timer);
    const { credits } = order();
    const typed = code();
    const turn = ++asked;
    if (!typed || Number.isNaN(credits)) return;
    if (bad.has(typed)) { problem(bad.get(typed)); return; }
    if (isAbout(shown) || isAbout(refused)) return;
    let answer = {};
    let status = 0;
    try {
      const query = new URLSearchParams({ credits, promo_code: typed });
      const response = await fetch(`${url}?${query}`, { headers: { Accept: 'application/json' } });
      status = response.status;
      answer = await response.json();
    } catch { /* offline, or no JSON: told below */ }
    if (turn !== asked) return; // something else was typed meanwhile
    if (status === 200) {
      shown = { code: typed, credits, bonus: answer.bonus_credits, name: answer.promo_code };
      problem('');
      render();
      announce(document.querySelector('[data-out="gets"]').textContent);
      return;
    }
    const text = status >= 400 && status < 500 && answer.error ? answer.error : say.fill('unchecked');
    if (answer.code === 'promo_code_unusable') bad.set(typed, text);
    if (answer.code) refused = { code: typed, credits };
    problem(text);
  };

  const later = (pause) => {
    asked += 1;
    clearTimeout(timer);
    if (url && code()) timer = setTimeout(ask, pause);
  };
  input.addEventListener('input', () => {
    problem('');
    refused = null;
    render();
    later(PAUSE);
  });
  input.addEventListener('change', () => { if (url) ask(); });
  input.addEventListener('keydown', (event) => {
    if (event.key !== 'Enter' || !url) return;
    event.preventDefault(); // one looks at what it brings before one buys
    ask();
  });
  // No button of a form's that Enter could press: that one goes on to the payment page.
  const apply = form.querySelector('[data-apply]');
  apply.type = 'button';
  apply.hidden = !url;
  apply.addEventListener('click', ask);

  // What the server has answered already, with the page.
  const first = { code: code(), credits: order().credits };
  if (Number(expected.value)) shown = { ...first, bonus: Number(expected.value), name: first.code };
  else if (field.classList.contains('bad')) refused = first;
  return {
    code: () => input.value.trim(),
    update: () => {
      render();
      if (!isAbout(shown) && !isAbout(refused)) later(SOON);
    },
  };
};
