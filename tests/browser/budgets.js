// What a page owes its readers, looked at after it has loaded and come to rest.
async () => {
  // A frame and what follows it: only then it is known what has moved.
  const frame = () => new Promise((next) => { requestAnimationFrame(() => setTimeout(next)); });
  await frame();
  await frame();
  const { shifts } = window;
  shifts.add(shifts.observer.takeRecords());

  const [page] = performance.getEntriesByType('navigation');
  const files = performance.getEntriesByType('resource');
  const isOpen = (one) => one.checkVisibility({ visibilityProperty: true });
  const told = (one) => one.outerHTML.replace(/\s+/g, ' ').slice(0, 120);

  // How something looks, and its label and what it is in, which may show its focus for it.
  const look = (one) => [one, ...one.labels ?? [], one.parentElement].map((each) => {
    const style = getComputedStyle(each);
    if (style.opacity === '0') return '';
    return [style.outlineStyle, style.outlineWidth, style.boxShadow, style.borderColor,
      style.backgroundColor, style.transform].join();
  }).join();
  const without = [];
  for (const one of document.querySelectorAll(
    'a[href], button, input, select, textarea, summary, [tabindex]:not([tabindex="-1"])',
  )) {
    if (!isOpen(one) || one.disabled || one.closest('[inert]')) continue;
    const before = look(one);
    one.focus({ focusVisible: true, preventScroll: true });
    if (document.activeElement === one && look(one) === before) without.push(told(one));
    one.blur();
  }

  return {
    shift: shifts.sum,
    excess: document.documentElement.scrollWidth - window.innerWidth,
    weight: [page, ...files].reduce((sum, { encodedBodySize }) => sum + encodedBodySize, 0),
    files: files.map(({ name }) => name),
    without,
  };
}
