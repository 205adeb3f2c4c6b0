// The pages of API keys: a form that is sent once, and a key to copy. Nothing needs it.

for (const form of document.querySelectorAll('[data-once]')) {
  let isSent = false;
  form.addEventListener('submit', (event) => {
    if (isSent) event.preventDefault(); // the second click of two would be told that the key is made
    isSent = true;
  });
  addEventListener('pageshow', () => { isSent = false; });
}

const button = document.querySelector('[data-copy]');
button?.addEventListener('click', async () => {
  const source = document.getElementById(button.dataset.copy);
  try {
    await navigator.clipboard.writeText(source.textContent);
  } catch {
    getSelection().selectAllChildren(source); // to be copied by hand
    return;
  }
  button.textContent = button.dataset.done;
  document.querySelector('[data-said]').textContent = button.dataset.done;
});
