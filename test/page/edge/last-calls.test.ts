// @vitest-environment jsdom
import { afterEach, expect, test, vi } from 'vitest';
import { fetchAndRecordCall, lastCalls } from '#page/edge/last-calls.ts';

afterEach(() => vi.unstubAllGlobals());

test('fetchAndRecordCall returns a 204 response, even if it has the empty body that Chromium sometimes adds', async () => {
  const answer = new Response(null, { status: 204 });
  Object.defineProperty(answer, 'body', { value: new Response('').body });
  vi.stubGlobal('fetch', async () => answer);
  const passed = await fetchAndRecordCall('https://edge.example/conversations/c1/stream', { headers: {} });
  expect(passed.status).toBe(204);
  const response = lastCalls.value[0]?.response.value;
  expect(response).toMatchObject({ status: 204, endedAt: expect.any(Number) });
  expect(response?.fault).toBeUndefined();
});
