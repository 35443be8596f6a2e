// @vitest-environment jsdom
import '#test/support/without-layout.ts';
import { h } from 'preact';
import { expect, onTestFinished, test, vi } from 'vitest';
import { fetchAndRecordCall } from '#page/edge/last-calls.ts';
import { Wire } from '#page/wire/wire.tsx';
import { getElementByName, renderForTest, waitForText } from '#test/support/dom.ts';

const formatDelta = (text: string) =>
  `event: content_block_delta\ndata: ${JSON.stringify({ type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text } })}\n\n`;

test('the Inspector shows each new event of a running stream, joined and one row for each', async () => {
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
  const writer = writable.getWriter();
  const send = async (text: string) => await writer.write(new TextEncoder().encode(formatDelta(text)));
  vi.stubGlobal('fetch', async () => new Response(readable, { headers: { 'content-type': 'text/event-stream' } }));
  onTestFinished(() => void vi.unstubAllGlobals());
  const response = await fetchAndRecordCall('https://edge.example/messages', { method: 'POST', headers: {} });
  const whole = response.text();
  const root = renderForTest(h(Wire, {}));
  await send('one ');
  await send('two ');
  await waitForText(root, /text_delta × 2.*one two /s);
  await send('three ');
  await waitForText(root, /text_delta × 3.*one two three /s);
  await waitForText(root, /Events3/);
  getElementByName(root, 'One row for each delta').click();
  const rows = () => root.querySelectorAll('.events tbody tr').length;
  await expect.poll(rows).toBe(4);
  await send('four');
  await expect.poll(rows).toBe(5);
  await waitForText(root, /Ended after…/);
  await writer.close();
  await whole;
  await waitForText(root, /Ended after\d/);
});
