// Reads a day of the chart out under the pointer, a finger or the arrow keys. The drawing is the
// server's, and so is each day's sentence: the title of its <path class="day">.
for (const chart of document.querySelectorAll('[data-chart]')) {
  const days = [...chart.querySelectorAll('.day')];
  const slider = chart.querySelector('[data-days]');
  const reading = chart.querySelector('[data-reading]');
  const last = days.length - 1;

  const read = (index) => {
    slider.value = index;
    const text = days[index].querySelector('title').textContent;
    reading.textContent = text;
    slider.setAttribute('aria-valuetext', text);
    days.forEach((day, other) => day.classList.toggle('on', other === index));
  };
  const rest = () => {
    read(last);
    days[last].classList.remove('on');
  };

  slider.addEventListener('input', () => read(slider.valueAsNumber));
  slider.addEventListener('pointermove', (event) => {
    const { left, width } = slider.getBoundingClientRect();
    const place = Math.floor(((event.clientX - left) / width) * days.length);
    read(Math.min(last, Math.max(0, place)));
  });
  slider.addEventListener('pointerleave', rest);
  slider.addEventListener('blur', rest);
}
