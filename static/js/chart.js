// Reads a day of the chart out under the pointer, a finger or the arrow keys. The drawing is the
// server's, and so is what is read: it is in the table behind the chart, newest first.
for (const chart of document.querySelectorAll('[data-chart]')) {
  const days = [...chart.querySelectorAll('[data-reading-of]')].reverse();
  const slider = chart.querySelector('[data-days]');
  const reading = chart.querySelector('[data-reading]');
  const mark = chart.querySelector('[data-at]');
  const { width, height } = chart.querySelector('svg').viewBox.baseVal;
  const last = days.length - 1;
  const today = reading.textContent;

  const show = (text) => {
    reading.textContent = text;
    slider.setAttribute('aria-valuetext', text);
  };
  const read = (index) => {
    slider.value = index;
    show(days[index].dataset.readingOf);
    mark.setAttribute('d', `M${((index + 0.5) * width) / days.length} 0V${height}`);
  };
  const rest = () => {
    slider.value = last;
    show(today);
    mark.setAttribute('d', 'M0 0');
  };

  slider.addEventListener('input', () => read(slider.valueAsNumber));
  slider.addEventListener('pointermove', (event) => {
    const box = slider.getBoundingClientRect();
    const place = Math.floor(((event.clientX - box.left) / box.width) * days.length);
    read(Math.min(last, Math.max(0, place)));
  });
  slider.addEventListener('pointerleave', rest);
  slider.addEventListener('blur', rest);
}
