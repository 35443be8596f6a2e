import { text } from 'node:stream/consumers';
import type { Page, Route } from 'playwright-core';
import { describe, expect, test } from 'vitest';
import { barriersOn } from '../../support/axe.ts';
import { noBrowser } from '../../support/browser.ts';
import { startEdgeWithPage } from '../../support/edge.ts';
import { openPage, servedPage } from '../../support/page.ts';

const NARROW = { width: 360, height: 640 };
const COUNTS = { processing: 0, succeeded: 0, errored: 0, canceled: 0, expired: 0 };
const ID = 'msgbatch_01Wq3XkGpnVBcXvEUvBHWjqA';

/** Batches as the edge answers them, kept beside the page, so that each state lasts as long as a test looks at it. */
class FakeBatches {
  /** The bodies that were sent. */
  readonly sent: { requests: { custom_id: string; params: Record<string, unknown> }[] }[] = [];
  readonly keys: (string | undefined)[] = [];
  state: 'in_progress' | 'ended' = 'in_progress';
  fits = true;
  /** How often sending fails before it succeeds. */
  failures = 0;
  total = 0;
  deleted = false;

  get row() {
    const isEnded = this.state === 'ended';
    const errored = isEnded ? Math.min(1, this.total) : 0;
    return {
      id: ID,
      type: 'message_batch',
      archived_at: null,
      cancel_initiated_at: null,
      created_at: '2026-11-20T10:00:00Z',
      ended_at: isEnded ? '2026-11-20T10:20:00Z' : null,
      expires_at: '2026-11-21T10:00:00Z',
      processing_status: this.state,
      request_counts: isEnded
        ? { ...COUNTS, succeeded: this.total - errored, errored }
        : { ...COUNTS, processing: this.total },
      results_url: null,
      cost_usd: isEnded ? 0.0042 : null,
    };
  }

  /** The lines of the results; the last one is an error, the second looks like a formula. */
  get lines(): string {
    return Array.from({ length: this.total }, (_, index) => {
      const custom_id = `row-${String(index + 1).padStart(5, '0')}`;
      if (index === this.total - 1) {
        const error = {
          type: 'error',
          error: { type: 'overloaded_error', message: 'Overloaded' },
          request_id: 'req_1',
        };
        return JSON.stringify({ custom_id, result: { type: 'errored', error } });
      }
      const text = index === 1 ? '=1+1' : `Thank you for ticket ${index + 1}, "as you say", we look into it.`;
      const message = {
        ...{ id: `msg_${index}`, type: 'message', role: 'assistant', model: 'claude-haiku-5-5' },
        ...{ content: [{ type: 'text', text }], stop_reason: 'end_turn', stop_sequence: null },
        usage: { input_tokens: 20, output_tokens: 12 },
      };
      return JSON.stringify({ custom_id, result: { type: 'succeeded', message } });
    })
      .map((line) => `${line}\n`)
      .join('');
  }

  async serve(page: Page): Promise<void> {
    await page.route(/\/v1\/messages\/batches/, (route) => this.#answer(route));
  }

  async #answer(route: Route): Promise<void> {
    const request = route.request();
    const { pathname, searchParams } = new URL(request.url());
    const rest = pathname.split('/').slice(4);
    const json = (body: object, status = 200) => route.fulfill({ status, json: body });
    if (rest[1] === 'results') return await route.fulfill({ contentType: 'application/x-jsonl', body: this.lines });
    if (rest[1] === 'cancel') {
      this.state = 'ended';
      return await json(this.row);
    }
    if (rest[0] !== undefined) {
      if (request.method() === 'DELETE') {
        this.deleted = true;
        return await json({ id: ID, type: 'message_batch_deleted' });
      }
      return await json(this.row);
    }
    if (request.method() === 'GET') {
      const data = this.sent.length === 0 || this.deleted ? [] : [this.row];
      return await json({ data, has_more: false, first_id: data[0]?.id ?? null, last_id: data[0]?.id ?? null });
    }
    const body = request.postDataJSON() as FakeBatches['sent'][number];
    const { length } = body.requests;
    if (searchParams.get('dry_run') === 'true') {
      return await json({ requests: length, cost_usd: 0.0123, fits: this.fits, fitting: this.fits ? length : 7 });
    }
    this.keys.push(request.headers()['idempotency-key']);
    if (this.failures > 0) {
      this.failures -= 1;
      const error = { type: 'rate_limit_error', message: 'Other requests hold this budget. Try again in 3 seconds.' };
      return await json({ type: 'error', error, request_id: 'req_1' }, 429);
    }
    this.sent.push(body);
    this.total = length;
    return await json(this.row);
  }
}

const file = (name: string, text: string) => ({ name, mimeType: '', buffer: Buffer.from(text) });
const choose = (page: Page, name: string, text: string) => page.getByLabel('File').setInputFiles(file(name, text));
const button = (page: Page, name: string | RegExp) => page.getByRole('button', { name });

async function download(page: Page, name: string): Promise<string> {
  const [saved] = await Promise.all([page.waitForEvent('download'), button(page, name).click()]);
  expect(saved.suggestedFilename()).toBe(`${ID}.${name.split(' ')[1]?.toLowerCase()}`);
  return await text(await saved.createReadStream());
}

describe.skipIf(noBrowser())('Batches on the page, in Chromium', () => {
  const server = servedPage(() => startEdgeWithPage({ SIMULATOR_BATCH_MS: '2000' }));

  async function opened(options?: Parameters<typeof openPage>[2]) {
    const open = await openPage(server.browser, 'about:blank', options);
    const fake = new FakeBatches();
    await fake.serve(open.page);
    await open.page.goto(`${server.url}/#/batches`);
    await open.page.getByRole('heading', { name: 'New batch' }).waitFor();
    return { ...open, fake };
  }

  test('a file goes through the edge’s own routes: priced, sent, followed, read, saved, cancelled', async () => {
    const { page, faults, close, shifts } = await openPage(server.browser, `${server.url}/#/batches`);
    const rows = Array.from({ length: 59 }, (_, at) => `t-${at};How high is gate ${at}?`);
    await choose(page, 'tickets.csv', ['id;ticket', ...rows, 't-59;sluice-simulate: errored'].join('\n'));
    await page.getByLabel(/Prompt for each row/).fill('{{ticket}}');
    await page.getByRole('combobox', { name: 'Request id' }).selectOption('id');
    await button(page, 'Show the price').click();
    await page.getByText('At most').waitFor();
    // The page hears of the end only when the beginning has been seen, however slowly it is drawn: until then it is told what
    // the edge has said at first.
    let first = '';
    let isSeen = false;
    await page.route(/\/batches$/, async (route) => {
      const response = await route.fetch();
      first = await response.text();
      await route.fulfill({ response, body: first });
    });
    await page.route(/\/batches\/msgbatch_\w+$/, async (route) => {
      if (isSeen) await route.continue();
      else await route.fulfill({ contentType: 'application/json', body: first });
    });
    await button(page, 'Send 60 requests').click();
    await page.getByText('In progress').waitFor();
    await page.evaluate(() => new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn))));
    const before = await shifts();
    isSeen = true;
    await page.unroute(/\/batches$/);
    await page.getByText('59 succeeded, 1 errored').waitFor();
    await page.getByText(/^\$0\.00\d+$/).waitFor();
    await page.getByText('1 to 50 of 60').waitFor();
    // Nothing moves by itself when the batch ends and its results come.
    const after = await shifts();
    const moved = after.moved.slice(before.moved.length).join('\n');
    expect(after.value - before.value, moved).toBeLessThan(0.02);
    expect(page.url()).toMatch(/#\/batches\/msgbatch_\w{26}$/);
    await page.getByRole('combobox', { name: 'Outcome' }).selectOption('errored');
    await page.getByRole('row', { name: /t-59 errored Internal server error/ }).waitFor();
    const [saved] = await Promise.all([page.waitForEvent('download'), button(page, 'Download JSONL').click()]);
    const lines = (await text(await saved.createReadStream())).trim().split('\n');
    const ids = lines.map((line) => (JSON.parse(line) as { custom_id: string }).custom_id);
    expect(new Set(ids)).toEqual(new Set(Array.from({ length: 60 }, (_, at) => `t-${at}`)));

    await page.getByRole('link', { name: 'All batches' }).click();
    const line = (custom_id: string) => ({
      custom_id,
      params: { model: 'claude-haiku-5-5', max_tokens: 5, messages: [{ role: 'user', content: 'Hi' }] },
    });
    await choose(page, 'a.jsonl', [line('a'), line('b')].map((one) => JSON.stringify(one)).join('\n'));
    await button(page, 'Show the price').click();
    // It runs until it is cancelled, however slowly the buttons are found.
    await page.route('**/v1/messages/batches', (route) =>
      route.continue({ headers: { ...route.request().headers(), 'sluice-simulate': 'batch-ms=60000' } }),
    );
    await button(page, 'Send 2 requests').click();
    await page.getByText('In progress').waitFor();
    await button(page, 'Cancel').click();
    await button(page, 'Cancel the rest').click();
    await page.getByText(/^(2 canceled|1 succeeded, 1 canceled)$/).waitFor();
    await button(page, 'Delete').click();
    await button(page, 'Delete for good').click();
    await page.getByRole('heading', { name: 'Your batches' }).waitFor();
    await expect.poll(() => page.getByRole('row').count()).toBe(2);
    expect(faults).toEqual([]);
    await close();
  });

  test('a CSV becomes a batch: its price is shown first, and its results can be looked through and saved', async () => {
    const { page, faults, close, fake } = await opened();
    await page.getByText(/^No batches yet\./).waitFor();
    await choose(
      page,
      'tickets.csv',
      'id;name;ticket\nt-1;Ada;"Where is\nmy {{name}}?"\nt-2;Bob;It broke.\nt-3;Cleo;Thanks!\n',
    );
    await page.getByText('3 rows', { exact: true }).waitFor();
    await page.getByLabel(/Prompt for each row/).fill('{{name}} writes: {{ticket}}');
    await page.getByLabel('System prompt (optional)').fill('Be brief.');
    await page.getByRole('combobox', { name: 'Request id' }).selectOption('id');
    await page.getByText('Ada writes: Where is my {{name}}?').waitFor();
    await button(page, 'Show the price').click();
    await page.getByText('$0.012').waitFor();
    expect(fake.sent).toEqual([]);
    // A price is of one prompt: where that changes, it is asked for again.
    await page.getByLabel('Longest answer, in tokens').fill('64');
    await button(page, 'Show the price').click();
    await button(page, 'Send 3 requests').click();
    await page.getByText('In progress').waitFor();
    const model = fake.sent[0]?.requests[0]?.params.model;
    const asked = (content: string) => ({
      ...{ model, max_tokens: 64, system: 'Be brief.', messages: [{ role: 'user', content }] },
    });
    expect(fake.sent).toEqual([
      {
        requests: [
          { custom_id: 't-1', params: asked('Ada writes: Where is\nmy {{name}}?') },
          { custom_id: 't-2', params: asked('Bob writes: It broke.') },
          { custom_id: 't-3', params: asked('Cleo writes: Thanks!') },
        ],
      },
    ]);
    expect(model).toMatch(/^claude-haiku/);

    fake.state = 'ended';
    await page.getByText('2 succeeded, 1 errored').waitFor();
    await page.getByRole('row', { name: /row-00001 succeeded Thank you for ticket 1/ }).waitFor();
    await page.getByRole('row', { name: /row-00003 errored Overloaded/ }).waitFor();
    await page
      .getByRole('row', { name: /row-00001/ })
      .getByRole('button', { name: 'Show' })
      .click();
    await page.getByRole('dialog', { name: 'row-00001' }).getByText('"msg_0"').waitFor();
    await page.keyboard.press('Escape');
    expect(await download(page, 'Download JSONL')).toBe(fake.lines);
    const csv = await download(page, 'Download CSV');
    expect(csv.split('\r\n').slice(1, 4)).toEqual([
      `row-00001,succeeded,"Thank you for ticket 1, ""as you say"", we look into it.",end_turn,20,12`,
      // A spreadsheet must not compute it.
      `row-00002,succeeded,"'=1+1",end_turn,20,12`,
      'row-00003,errored,Overloaded,,,',
    ]);
    await button(page, 'Delete').click();
    await button(page, 'Delete for good').click();
    await page.getByText(/^No batches yet\./).waitFor();
    expect(fake.deleted).toBe(true);
    expect(faults).toEqual([]);
    await close();
  });

  test('JSONL with requests goes up as it is; what cannot go up is told by its line', async () => {
    const { page, faults, close, fake } = await opened();
    const line = (custom_id: string) =>
      JSON.stringify({ custom_id, params: { model: 'claude-haiku-5-5', max_tokens: 5, prefix: 'a', messages: [] } });
    await choose(page, 'a.jsonl', `${line('a')}\n\n${line('a')}\n${line('b c')}\n{"custom_id":"d"}\nnone\n`);
    const said = (await page.getByRole('alert').textContent()) ?? '';
    for (const fault of [
      'Line 3: the custom_id a is used twice',
      'Line 4:',
      'Line 5:',
      'Line 6:',
      'Correct the file',
    ]) {
      expect(said).toContain(fault);
    }
    await choose(page, 'a.jsonl', `${line('a')}\r\n${line('b')}`);
    await page.getByText('2 requests, as they are').waitFor();
    await button(page, 'Show the price').click();
    await button(page, 'Send 2 requests').click();
    await page.getByText('In progress').waitFor();
    expect(fake.sent).toEqual([{ requests: [JSON.parse(line('a')), JSON.parse(line('b'))] }]);
    await button(page, 'Cancel').click();
    await button(page, 'Cancel the rest').click();
    await expect.poll(() => fake.state).toBe('ended');
    expect(faults).toEqual([]);
    await close();
  });

  test('what does not fit cannot be sent, and what was refused is sent again under the same key', async () => {
    const { page, close, fake } = await opened();
    fake.fits = false;
    await button(page, 'Try it with twelve tickets').click();
    await button(page, 'Show the price').click();
    await page
      .getByRole('alert')
      .getByText(/covers 7 of them now/)
      .waitFor();
    await expect.poll(() => button(page, 'Send 12 requests').isDisabled()).toBe(true);
    fake.fits = true;
    fake.failures = 1;
    await page.getByLabel('Longest answer, in tokens').fill('50');
    await button(page, 'Show the price').click();
    await button(page, 'Send 12 requests').click();
    await page.getByRole('alert').getByText('Try again in 3 seconds.').waitFor();
    await button(page, 'Send 12 requests').click();
    await page.getByText('In progress').waitFor();
    expect(fake.keys.length).toBe(2);
    expect(new Set(fake.keys).size).toBe(1);
    await close();
  });

  test('a file that is no list of requests is told so, in a sentence', async () => {
    const { page, faults, close } = await opened();
    const told = async (name: string, text: string) => {
      await choose(page, name, text);
      await button(page, 'Show the price').or(page.getByRole('alert')).first().waitFor();
      if ((await page.getByRole('alert').count()) === 0) await button(page, 'Show the price').click();
      return (await page.getByRole('alert').textContent()) ?? '';
    };
    expect(await told('a.csv', 'only,a,head\n')).toContain('The file needs a first row');
    expect(await told('a.csv', 'a,b\n1,2\n1,2,3\n')).toContain('Row 3: it has 3 fields, and there are 2 columns.');
    expect(await told('a.csv', 'a,b\n1,"2\n')).toMatch(/Row \d: .*Correct the file/);
    expect(await told('a.txt', ' \n\n')).toContain('The file is empty.');
    await choose(page, 'a.csv', 'a,b\n1,2\n');
    await page.getByLabel(/Prompt for each row/).fill('Say {{c}}');
    await button(page, 'Show the price').click();
    await page.getByRole('alert').getByText('no such column. It has: a, b.').waitFor();
    expect(faults).toEqual([]);
    await close();
  });

  test('ten thousand results are drawn a page at a time, without the page standing still', async () => {
    const { page, faults, close, fake } = await opened();
    fake.total = 10_000;
    fake.state = 'ended';
    await page.evaluate(() => {
      const tasks: number[] = [];
      Object.assign(globalThis, { tasks });
      new PerformanceObserver((list) => tasks.push(...list.getEntries().map(({ duration }) => duration))).observe({
        type: 'longtask',
      });
    });
    await page.evaluate((id) => {
      location.hash = `#/batches/${id}`;
    }, ID);
    await page.getByText('1 to 50 of 10,000').waitFor();
    await expect.poll(() => page.getByRole('table').getByRole('row').count()).toBe(51);
    for (let pages = 0; pages < 20; pages += 1) await button(page, 'Next').click();
    await page.getByText('1,001 to 1,050 of 10,000').waitFor();
    await page.getByLabel('Filter by id or text').fill('ticket 777');
    await page.getByText(/^1 to 11 of 11$/).waitFor();
    await page.getByRole('combobox', { name: 'Outcome' }).selectOption('errored');
    await page.getByText('Nothing to show').waitFor();
    const tasks = await page.evaluate(() => (globalThis as unknown as { tasks: number[] }).tasks);
    expect(Math.max(0, ...tasks)).toBeLessThan(500);
    expect(faults).toEqual([]);
    await close();
  });

  test.each(['light', 'dark'] as const)(
    'has nothing that axe finds, nothing beside a narrow window, and nothing that moves by itself, in the %s',
    async (colorScheme) => {
      const { page, faults, close, fake, shifts } = await opened({ viewport: NARROW, colorScheme });
      const check = async (what: string) => {
        expect(await barriersOn(page), what).toEqual([]);
        const beside = await page.evaluate(
          () =>
            Math.max(document.documentElement.scrollWidth, document.querySelector('main')?.scrollWidth ?? 0) -
            innerWidth,
        );
        expect(beside, what).toBe(0);
      };
      await check('empty');
      await button(page, 'Try it with twelve tickets').click();
      await button(page, 'Show the price').click();
      await page.getByText('$0.012').waitFor();
      await check('priced');
      await button(page, 'Send 12 requests').click();
      await page.getByText('In progress').waitFor();
      await check('running');
      fake.state = 'ended';
      await page.getByText('11 succeeded, 1 errored').waitFor();
      await page.getByText('1 to 12 of 12').waitFor();
      await check('ended');
      await page.getByRole('link', { name: 'All batches' }).click();
      await page.getByRole('link', { name: ID }).waitFor();
      await check('list');
      const { value, moved } = await shifts();
      expect(value, moved.join('\n')).toBeLessThan(0.05);
      expect(faults).toEqual([]);
      await close();
    },
  );
});
