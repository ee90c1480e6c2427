// Puts the parts of the page that changed in their places, as the server sends them.
const connection = document.getElementById('connection');
const say = (text, lost) => {
  if (connection.textContent !== text) connection.textContent = text;
  connection.classList.toggle('lost', lost);
};
const put = (section, html) => {
  // Where somebody has scrolled to within a part, and what has the focus there, stays.
  const scrolled = [...section.querySelectorAll('[role="region"]')].map((e) => [e.getAttribute('aria-label'), e.scrollLeft, e.scrollTop]);
  const focused = section.contains(document.activeElement) ? document.activeElement.getAttribute('aria-label') : null;
  section.innerHTML = html;
  for (const region of section.querySelectorAll('[aria-label]')) {
    const label = region.getAttribute('aria-label');
    const before = scrolled.find(([name]) => name === label);
    if (before) [, region.scrollLeft, region.scrollTop] = before;
    if (focused !== null && label === focused) region.focus({ preventScroll: true });
  }
};
const events = new EventSource('events');
events.addEventListener('open', () => say('Live', false));
events.addEventListener('error', () => say('The connection is lost; trying again', true));
events.addEventListener('end', () => {
  events.close();
  say('unmute watch has ended; this is what it showed last', true);
});
events.addEventListener('parts', (event) => {
  const parts = JSON.parse(event.data);
  const main = document.querySelector('main');
  for (const [name, html] of Object.entries(parts)) {
    let section = document.getElementById(name);
    if (!section) {
      section = document.createElement('section');
      section.id = name;
      section.setAttribute('aria-label', name);
      main.append(section);
    }
    put(section, html);
  }
  const title = document.querySelector('h1');
  const done = document.querySelector('progress');
  if (title) document.title = (done ? `${done.value}/${done.max} ` : '') + title.textContent;
});
