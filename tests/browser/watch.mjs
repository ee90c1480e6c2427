// Opens the page of `unmute watch` in headless Chromium: `node watch.mjs CHROMIUM URL|FILE [SCREENSHOTS]`. A page that is
// served is watched until its grid is full. Prints one line for each thing that must not be there, and ends with 1 if there
// is any.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import puppeteer from 'puppeteer-core';

const [chromium, where, screenshots] = process.argv.slice(2);
const live = where.startsWith('http:');
const here = live ? where : pathToFileURL(where).href;
const faults = [];
const fault = (text) => faults.push(text);
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

const browser = await puppeteer.launch({
  executablePath: chromium,
  args: ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking'],
});
try {
  const page = await browser.newPage();
  // What the page's own policy forbids is told on the console.
  page.on('console', (m) => fault(`console: ${m.text()}`));
  page.on('pageerror', (e) => fault(`error: ${e.message}`));
  let loads = 0;
  page.on('request', (r) => {
    const inside = r.url().startsWith(live ? here : 'file:') || r.url().startsWith('data:');
    if (!inside) fault(`a request leaves the page: ${r.url()}`);
    if (r.isNavigationRequest()) loads += 1;
  });
  await page.setViewport({ width: 1280, height: 900 });
  await page.goto(here, { waitUntil: 'domcontentloaded' });
  const accessible = async (when) => {
    await page.evaluate(axe).catch((e) => fault(`axe does not run: ${e.message}`));
    const found = await page.evaluate(() => axe.run(document, { resultTypes: ['violations'] }));
    for (const v of found.violations.filter((v) => ['serious', 'critical'].includes(v.impact))) {
      const nodes = v.nodes.slice(0, 3).map((n) => n.target.join(' '));
      fault(`axe, ${when}: ${v.id} (${v.impact}): ${v.help}: ${v.nodes.length} places, ${nodes.join('; ')}`);
    }
  };
  const seen = new Set();
  if (live) {
    const state = () => page.evaluate(() => ({
      connection: document.getElementById('connection').textContent,
      chips: [...document.querySelectorAll('table.grid .chip')].map((e) => e.className),
      done: document.querySelector('progress')?.value ?? 0,
      all: document.querySelector('progress')?.max ?? 0,
    }));
    let focused = false;
    for (let i = 0; i < 600; i++) {
      const now = await state();
      now.chips.forEach((c) => seen.add(c));
      if (now.connection === 'Live') seen.add('live');
      if (!focused && now.chips.length > 0) {
        focused = true;
        await page.focus('[aria-label="Grid"]');
      }
      if (now.all > 0 && now.done === now.all) break;
      await new Promise((done) => setTimeout(done, 100));
    }
    for (const what of ['live', 'chip done', 'chip running']) if (!seen.has(what)) fault(`never seen: ${what}`);
    const now = await state();
    if (now.done !== now.all || now.all === 0) fault(`the grid is at ${now.done} of ${now.all}`);
    const kept = await page.evaluate(() => document.activeElement.getAttribute('aria-label'));
    if (kept !== 'Grid') fault(`the focus went from the grid to ${kept}`);
    if (loads !== 1) fault(`the page was loaded ${loads} times`);
  }
  if (!(await page.evaluate(() => document.querySelectorAll('table.grid tbody tr').length))) fault('there is no grid');
  // Tables are computed when they are, a moment after the last run.
  const tables = () => page.evaluate(() => /2 of 2|4 of 4|[1-9]\d* of/.test(document.getElementById('tables')?.textContent ?? ''));
  for (let i = 0; i < 200 && !(await tables()); i++) await new Promise((done) => setTimeout(done, 100));
  if (!(await tables())) fault('there are no numbers in the tables');
  await accessible('light');
  await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: 'dark' }]);
  await accessible('dark');
  if (screenshots) await page.screenshot({ path: `${screenshots}/watch-dark.png`, fullPage: true });
  await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: 'light' }]);
  if (screenshots) await page.screenshot({ path: `${screenshots}/watch-wide.png`, fullPage: true });
  await page.setViewport({ width: 390, height: 900 });
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  if (wide > 0) fault(`the page scrolls ${wide} px sideways on a phone`);
  if (screenshots) await page.screenshot({ path: `${screenshots}/watch-narrow.png`, fullPage: true });
} finally {
  await browser.close();
}
for (const text of faults) console.log(text);
console.log(`${faults.length} faults`);
process.exit(faults.length > 0 ? 1 : 0);
