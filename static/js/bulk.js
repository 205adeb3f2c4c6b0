// Shows how far a bulk purchase is. Backs off, and begins anew when there is progress; the page's
// own link stays for whoever has no patience, and the server is asked no more after some minutes.
const box = document.querySelector('[data-poll]');
const bar = box.querySelector('progress');
const shown = box.querySelector('[data-done]');
const format = new Intl.NumberFormat(document.documentElement.lang);
let wait = 500;

const ask = async () => {
  try {
    const answer = await fetch(box.dataset.poll, { headers: { Accept: 'application/json' } });
    if (answer.ok) {
      const now = await answer.json();
      const { status, payment, invoice } = box.dataset;
      if (now.status !== status || now.payment !== payment || (now.invoice ?? '') !== invoice) {
        location.reload();
        return;
      }
      if (bar && now.done > bar.value) {
        bar.value = now.done;
        shown.textContent = format.format(now.done);
        wait = 500;
      }
    }
  } catch { /* offline: the next try may get through */ }
  wait *= 1.5;
  if (wait < 60000) setTimeout(ask, wait);
};
setTimeout(ask, wait);
