// The theme and the time zone, by cookies that the server reads.
// The choice is kept in a cookie, so that the server writes data-theme: no flash, no inline script.
const root = document.documentElement;
const button = document.querySelector('[data-theme-toggle]');
const systemIsDark = matchMedia('(prefers-color-scheme: dark)');
const isDark = () => (root.dataset.theme ? root.dataset.theme === 'dark' : systemIsDark.matches);
const keep = (name, value) => {
  const secure = location.protocol === 'https:' ? '; secure' : '';
  document.cookie = `${name}=${value}; path=/; max-age=31536000; samesite=lax${secure}`;
};
const show = () => button?.setAttribute('aria-pressed', String(isDark()));

button?.addEventListener('click', () => {
  root.dataset.theme = isDark() ? 'light' : 'dark';
  keep('theme', root.dataset.theme);
  show();
});
systemIsDark.addEventListener('change', show);
show();

// The server writes times as they are where the reader is.
keep('tz', Intl.DateTimeFormat().resolvedOptions().timeZone);
