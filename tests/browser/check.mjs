// Opens a report in headless Chromium: `node check.mjs CHROMIUM REPORT.html [SCREENSHOTS]`. Prints one line for each thing
// that must not be there, and ends with 1 if there is any.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import puppeteer from 'puppeteer-core';
import { HtmlValidate } from 'html-validate';

const [chromium, report, screenshots] = process.argv.slice(2);
const faults = [];
const fault = (text) => faults.push(text);

const html = readFileSync(report, 'utf8');
const validator = new HtmlValidate({
  root: true,
  extends: ['html-validate:standard'],
  rules: {
    // Matters of taste: the template's own spacing, the long lines of a generated file, and inline style of the page itself.
    'no-inline-style': 'off', 'no-trailing-whitespace': 'off', 'attribute-boolean-style': 'off', 'long-title': 'off',
    'doctype-style': 'off', 'void-style': 'off', 'prefer-native-element': 'off', 'attr-quotes': 'off',
    'no-redundant-role': 'off', 'wcag/h30': 'off', 'no-raw-characters': 'off',
  },
});
const validity = await validator.validateString(html);
for (const result of validity.results) {
  for (const m of result.messages.filter((m) => m.severity === 2).slice(0, 20)) {
    fault(`not valid HTML, line ${m.line}: ${m.ruleId}: ${m.message}`);
  }
}
for (const pattern of [/\b(?:src|srcset)\s*=\s*["']?https?:/i, /url\(\s*["']?https?:/i, /@import/i, /<link\b/i]) {
  if (pattern.test(html)) fault(`the file asks for something outside: ${pattern}`);
}

const browser = await puppeteer.launch({
  executablePath: chromium,
  args: ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking'],
});
try {
  const page = await browser.newPage();
  const here = pathToFileURL(report).href;
  page.on('console', (m) => fault(`console: ${m.text()}`));
  page.on('pageerror', (e) => fault(`error: ${e.message}`));
  page.on('request', (r) => {
    const url = r.url().split('#')[0];
    if (url !== here && !url.startsWith('data:')) fault(`a request leaves the page: ${url}`);
  });
  await page.setViewport({ width: 1280, height: 900 });
  await page.goto(here, { waitUntil: 'load' });

  const overflow = async (when) => {
    for (const width of [360, 768, 1280]) {
      await page.setViewport({ width, height: 900 });
      const wide = await page.evaluate(() => {
        const root = document.documentElement;
        if (root.scrollWidth <= root.clientWidth) return null;
        const inScroller = (e) => e.closest('.scroll, pre');
        const worst = [...document.body.querySelectorAll('*')].filter(
          (e) => !inScroller(e) && e.getBoundingClientRect().right > root.clientWidth + 1);
        return `${root.scrollWidth} > ${root.clientWidth}: ${worst.slice(0, 3).map((e) => `${e.localName}.${e.className} ${e.id}`).join(', ')}`;
      });
      if (wide) fault(`the page scrolls sideways at ${width} px, ${when}: ${wide}`);
    }
  };
  const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
  const accessible = async (when) => {
    await page.evaluate(axe);
    const found = await page.evaluate(() => axe.run(document, { resultTypes: ['violations'] }));
    for (const v of found.violations.filter((v) => ['serious', 'critical'].includes(v.impact))) {
      const nodes = v.nodes.slice(0, 3).map((n) => n.target.join(' '));
      fault(`axe, ${when}: ${v.id} (${v.impact}): ${v.help}: ${v.nodes.length} places, ${nodes.join('; ')}`);
    }
  };
  const shoot = async (name, options = {}) => {
    if (screenshots) await page.screenshot({ path: `${screenshots}/${name}.png`, ...options });
  };

  // What a reader sees without scrolling answers three questions.
  const first = await page.evaluate(() => {
    scrollTo(0, 0);
    const seen = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let n = walker.nextNode(); n; n = walker.nextNode()) {
      const range = document.createRange();
      range.selectNodeContents(n);
      const box = range.getBoundingClientRect();
      if (box.height > 0 && box.width > 0 && box.bottom <= 900) seen.push(n.textContent.trim());
    }
    return seen.join(' ').replace(/\s+/g, ' ');
  });
  const answers = {
    'does generation help in fusion?': /Does generating .{3,40} help\? (Yes|No|No, it hurts|Not shown|Not decided: one seed|Not run|Nothing to generate)\. \S/,
    'which generator?': /Which generator.{0,20}\? [^.]{2,60}\. \S|Not run\./,
    'may I trust it?': /May I trust it\? (No|Not as a finding|With care|Within the intervals)\. \S/,
  };
  for (const [question, pattern] of Object.entries(answers)) {
    if (!pattern.test(first)) fault(`the first 900 pixels do not answer: ${question}: ${first.slice(0, 600)}`);
  }
  // The figure begins where one need not scroll for it.
  const figure = await page.evaluate(() => document.querySelector('.answer-figure .pair')?.getBoundingClientRect().top ?? 0);
  if (figure > 860) fault(`the first figure begins at ${figure} px, below the first screen`);
  // Dots lie on their rails, and a star is no tie.
  const off = await page.evaluate(() => [...document.querySelectorAll('.rail > *')].filter((e) => {
    const [mark, rail] = [e.getBoundingClientRect(), e.parentElement.getBoundingClientRect()];
    return rail.width > 0 && !e.closest('.scale') && (mark.left < rail.left - 8 || mark.right > rail.right + 8);
  }).length);
  if (off) fault(`${off} marks lie outside their rails`);
  const both = await page.evaluate(() => document.querySelectorAll('td.best.tied').length);
  if (both) fault(`${both} numbers are the best and tied`);
  const hidden = await page.evaluate(() => {
    const box = document.getElementById('show-published');
    const cells = () => [...document.querySelectorAll('main table.data td.cmp')].filter((e) => e.getBoundingClientRect().width > 0).length;
    if (!box || !document.querySelector('main table.data td.cmp')) return [];
    const states = [box.checked];
    for (let i = 0; i < 2; i++) {
      const before = cells();
      if ((before > 0) !== box.checked) return [`with the box ${box.checked}, ${before} published cells are seen`];
      box.click();
    }
    return states[0] === box.checked ? [] : ['the box does not come back'];
  });
  for (const text of hidden) fault(text);
  const tiles = await page.evaluate(() => {
    const board = document.querySelector('.tiles');
    if (!board) return [];
    const counted = [...document.querySelectorAll('ul.counts strong')].reduce((n, e) => n + Number(e.textContent), 0);
    const shown = board.querySelectorAll('.metric > p > strong.verdict').length;
    return counted === shown ? [] : [`the scoreboard counts ${counted} verdicts and shows ${shown}`];
  });
  for (const text of tiles) fault(text);
  await page.evaluate(() => scrollTo(0, 0));
  await overflow('as it opens');
  await accessible('light');
  // Every number leads to an open place that can be seen.
  const lost = await page.evaluate(async () => {
    const links = [...document.querySelectorAll('main a[href^="#"]')];
    const bad = [];
    for (const link of links) {
      document.querySelectorAll('details[open]').forEach((d) => { d.open = false; });
      link.click();
      await new Promise((done) => setTimeout(done, 0));
      const target = document.getElementById(decodeURIComponent(link.hash.slice(1)));
      const box = target?.getBoundingClientRect();
      if (!box || box.height === 0 || box.width === 0) bad.push(link.hash);
    }
    return { bad, links: links.length };
  });
  if (lost.links === 0) fault('no number leads anywhere');
  for (const hash of lost.bad) fault(`a link leads to nothing that can be seen: ${hash}`);
  // Every drill-down opens, with the keyboard too.
  const stuck = await page.evaluate(() => {
    const all = [...document.querySelectorAll('details')];
    all.forEach((d) => { d.open = false; });
    const bad = [];
    for (const d of all) {
      const summary = d.querySelector(':scope > summary');
      for (let e = d.parentElement; e; e = e.parentElement) if (e.localName === 'details') e.open = true;
      summary?.focus();
      const focused = document.activeElement === summary;
      d.open = false;
      summary?.click();
      const box = summary?.nextElementSibling?.getBoundingClientRect();
      if (!d.open || !focused || !box || box.height === 0) bad.push(summary?.textContent ?? 'no summary');
    }
    return { bad, all: all.length };
  });
  if (stuck.all === 0) fault('there is nothing to open');
  for (const text of stuck.bad) fault(`it does not open: ${text.trim()}`);
  const copied = await page.evaluate(async () => {
    const bad = [];
    for (const button of document.querySelectorAll('button[data-copy]')) {
      button.click();
      const source = document.getElementById(button.dataset.copy);
      // Copied, or selected where the browser does not let it; a busy machine takes its time.
      const copied = () => button.textContent === 'Copied' || getSelection().toString().trim() === source.textContent.trim();
      for (let i = 0; i < 150 && !copied(); i++) await new Promise((done) => setTimeout(done, 20));
      if (!copied()) bad.push(button.dataset.copy);
    }
    return bad;
  });
  for (const id of copied) fault(`it does not copy: ${id}`);
  await overflow('with everything open');
  await accessible('light, with everything open');
  await page.evaluate(() => document.querySelectorAll('details').forEach((d) => { d.open = false; }));
  await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: 'dark' }]);
  await page.reload();
  await accessible('dark');
  await page.evaluate(() => scrollTo(0, 0));
  await page.setViewport({ width: 1280, height: 1600 });
  await shoot('dark');
  await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: 'light' }]);
  await shoot('wide');
  await page.setViewport({ width: 360, height: 1600 });
  const frozen = await page.evaluate(() => {
    const scroller = [...document.querySelectorAll('.scroll:has(table.data)')].find((s) => s.scrollWidth > s.clientWidth + 60);
    if (!scroller) return null;
    scroller.scrollLeft = 60;
    const cell = scroller.querySelector('tbody tr:not(.group) th').getBoundingClientRect();
    return Math.abs(cell.left - scroller.getBoundingClientRect().left) < 4 ? null : `${cell.left}`;
  });
  if (frozen) fault(`on a phone the first column is scrolled away: ${frozen}`);
  await shoot('narrow');
  await page.setViewport({ width: 1280, height: 900 });
  await page.evaluate(() => scrollTo(0, document.body.scrollHeight / 2));
  const sticky = await page.evaluate(() => document.querySelector('nav.contents').getBoundingClientRect().top);
  if (sticky !== 0) fault(`the contents list is at ${sticky} px, not at the top`);
  await page.evaluate(() => dispatchEvent(new Event('beforeprint')));
  const shut = await page.evaluate(() => document.querySelectorAll('details:not([open]):not(.copies)').length);
  if (shut) fault(`${shut} pieces of evidence are not printed`);
  await page.evaluate(() => dispatchEvent(new Event('afterprint')));
  if (screenshots) await page.pdf({ path: `${screenshots}/print.pdf`, format: 'A4' });
} finally {
  await browser.close();
}
for (const text of faults) console.log(text);
console.log(`${faults.length} faults`);
process.exit(faults.length > 0 ? 1 : 0);
