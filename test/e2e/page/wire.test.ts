import { describe, expect, test } from 'vitest';
import { findBarriers } from '#test/support/axe.ts';
import { isBrowserMissing } from '#test/support/browser.ts';
import { askQuestion, lastAnswerOf, openServedPage, setSimulatorFaults, waitForAnswer } from '#test/support/page.ts';

describe.skipIf(isBrowserMissing())('The Inspector of the page, in Chromium', () => {
  const server = openServedPage();

  test('shows a request and its events over time, and copies it as curl with a placeholder for the token', async () => {
    const { page, faults, close } = await server.open();
    await setSimulatorFaults(page, 'ttft=50; tps=40; thinking=0');
    await askQuestion(page, "In one sentence: what's a dam?");
    await waitForAnswer(page);
    const said = await lastAnswerOf(page).locator('.markdown').textContent();
    await page.getByRole('link', { name: 'Inspector' }).click();
    const events = page.getByRole('region', { name: 'Events' });
    for (const name of ['message_start', 'message_stop', 'comment']) {
      await events.getByRole('cell', { name, exact: true }).first().waitFor();
    }
    // Its deltas are one text, with their number; and a bar each says when something came.
    const text = events.getByRole('row').filter({ hasText: 'text_delta' });
    await expect.poll(() => text.count()).toBe(1);
    expect((await text.locator('.typed').textContent())?.trim()).toBe(said?.trim());
    const count = Number(/× (\d+)/.exec((await text.textContent()) ?? '')?.[1]);
    expect(count).toBeGreaterThan(3);
    const bars = await events.locator('.when').evaluateAll((all) =>
      all.map((bar) => {
        const [frame, inside] = [bar, bar.firstElementChild ?? bar].map((each) => each.getBoundingClientRect());
        return frame && inside ? [inside.left - frame.left, inside.right - frame.left, frame.width] : [];
      }),
    );
    expect(bars.length).toBe(await events.locator('tbody tr').count());
    const starts = bars.map(([start = -1]) => start);
    expect(starts).toEqual([...starts].sort((left, right) => left - right));
    expect(starts[0]).toBe(0);
    const [begun = 0, ended = 0, width = 0] =
      bars[await text.evaluate((row) => (row as HTMLTableRowElement).sectionRowIndex)] ?? [];
    expect(ended).toBeGreaterThan(begun);
    expect(ended).toBeLessThanOrEqual(width + 4);
    // The data of an event is one line, which opens.
    const begin = events.getByRole('row').filter({ hasText: 'message_start' }).first();
    expect((await begin.locator('summary').boundingBox())?.height).toBeLessThan(30);
    await begin.locator('summary').click();
    await begin.getByText(/^\{\n {2}"type": "message_start",\n/).waitFor();
    const wide = page.viewportSize();
    await page.setViewportSize({ width: 390, height: 844 });
    const room = await events.evaluate((frame) => [frame.scrollWidth - frame.clientWidth, frame.clientWidth]);
    expect(room[0]).toBe(0);
    expect((await text.locator('.typed').boundingBox())?.width).toBeGreaterThan((room[1] ?? 0) * 0.9);
    if (wide) await page.setViewportSize(wide);
    await page.getByRole('checkbox', { name: 'One row for each delta' }).check();
    await expect.poll(() => events.getByText('content_block_delta', { exact: true }).count()).toBe(count);
    const times = await events.locator('tbody td:first-child').allTextContents();
    expect(times.length).toBeGreaterThan(count);
    expect(times.every((time) => /^\d+(\.\d+)? m?s$/.test(time))).toBe(true);
    expect(await findBarriers(page)).toEqual([]);

    await page.context().grantPermissions(['clipboard-read', 'clipboard-write'], { origin: server.url });
    await page.getByRole('button', { name: 'Copy as curl' }).click();
    await page.getByText('Copied as curl.').waitFor({ state: 'attached' });
    const copied = await page.evaluate(() => navigator.clipboard.readText());
    expect(copied).toContain(`curl -N '${server.url}/messages'`);
    expect(copied).toContain('-H "authorization: Bearer $SLUICE_TOKEN"');
    expect(copied).not.toContain(server.token);
    expect(copied).toContain("what'\\''s a dam?");
    expect(faults).toEqual([]);
    await close();
  });
});
