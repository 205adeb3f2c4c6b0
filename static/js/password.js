// The eye beside a password field: shows what is typed, until it is sent.
for (const button of document.querySelectorAll('[data-show]')) {
  const field = document.getElementById(button.dataset.show);
  const show = (visible) => {
    field.type = visible ? 'text' : 'password';
    button.setAttribute('aria-pressed', String(visible));
  };
  button.addEventListener('click', () => show(field.type === 'password'));
  // A browser remembers what was typed into a text field, but not into a password's.
  field.form.addEventListener('submit', () => show(false));
}
