// Asks how the purchase stands until the webhook has granted the credits. Backs off, stops after
// about a minute, and never claims failure: it says what happens next, and offers to look again.
const box = document.querySelector('[data-poll]');
const waits = [500, 700, 1000, 1500, 2000, 3000, 5000, 8000, 10000, 10000, 10000, 10000];

const ask = async () => {
  try {
    const answer = await fetch(box.dataset.poll, { headers: { Accept: 'application/json' } });
    if (answer.ok && (await answer.json()).status !== 'pending') {
      location.reload();
      return;
    }
  } catch { /* offline: the next try may get through */ }
  if (waits.length) {
    setTimeout(ask, waits.shift());
    return;
  }
  for (const part of box.querySelectorAll('[data-waiting]')) part.remove();
  box.querySelector('[data-slow]').hidden = false;
  box.querySelector('[data-again]').classList.remove('nojs-only');
};
setTimeout(ask, waits.shift());
