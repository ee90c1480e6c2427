// Opens what a link leads to, and copies tables. The report reads without it.
const reveal = () => {
  const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  for (let e = target; e; e = e.parentElement) if (e.localName === 'details') e.open = true;
  target.scrollIntoView({ block: 'center' });
  target.focus({ preventScroll: true });
};
addEventListener('hashchange', reveal);
addEventListener('click', (event) => {
  const link = event.target.closest('a[href^="#"]');
  // The same place again changes no hash.
  if (link && link.hash === location.hash) reveal();
  const button = event.target.closest('button[data-copy]');
  if (!button) return;
  const source = document.getElementById(button.dataset.copy);
  const select = () => getSelection().selectAllChildren(source);
  const done = () => { button.textContent = 'Copied'; };
  if (navigator.clipboard) navigator.clipboard.writeText(source.textContent).then(done, select);
  else select();
});
// What is evidence is printed, open or not.
let closed = [];
addEventListener('beforeprint', () => {
  closed = [...document.querySelectorAll('details:not([open]):not(.copies)')];
  for (const d of closed) d.open = true;
});
addEventListener('afterprint', () => { for (const d of closed) d.open = false; });
reveal();
