// The choice is kept in a cookie, so that the server writes data-theme: no flash, no inline script.
const root = document.documentElement;
const button = document.querySelector('[data-theme-toggle]');
const systemIsDark = matchMedia('(prefers-color-scheme: dark)');
const isDark = () => (root.dataset.theme ? root.dataset.theme === 'dark' : systemIsDark.matches);
const show = () => button?.setAttribute('aria-pressed', String(isDark()));

button?.addEventListener('click', () => {
  root.dataset.theme = isDark() ? 'light' : 'dark';
  const secure = location.protocol === 'https:' ? '; secure' : '';
  document.cookie = `theme=${root.dataset.theme}; path=/; max-age=31536000; samesite=lax${secure}`;
  show();
});
systemIsDark.addEventListener('change', show);
show();
