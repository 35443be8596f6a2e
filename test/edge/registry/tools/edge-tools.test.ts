import { expect, test } from 'vitest';
import { findEdgeTools } from '#edge/registry/tools/edge-tools.ts';

test.each(['run', '\\u0072un', 'r\\u0075n', 'ru\\u006E'])(
  'removes a tool’s `run` before the tool is sent, however the key is escaped: %s',
  (key) => {
    const found = findEdgeTools(`[{"name":"a","${key}":{"url":"https://tools.example.com/"}}]`);
    expect(found?.sent).toBe('[{"name":"a"}]');
    expect([...(found?.runs.keys() ?? [])]).toEqual(['a']);
  },
);

test('reads the approval setting from the long form of a Worker tool', () => {
  const found = findEdgeTools('[{"name":"pay","run":{"worker":true,"approval":"always"}}]');
  expect(found?.runs.get('pay')).toMatchObject({ worker: true, approval: 'always' });
  // This Worker has no such tool: the model is not told of it.
  expect(found?.sent).toBe('[]');
});

test('a request’s tool cannot remove the approval of a stored tool with the same name', () => {
  const stored = '[{"name":"pay","run":{"worker":true,"approval":"always"}}]';
  const found = findEdgeTools('[{"name":"pay","run":"worker"},{"name":"mine","run":"worker"}]', stored);
  expect(found?.runs.get('pay')).toMatchObject({ approval: 'always' });
  expect(found?.runs.get('mine')).not.toHaveProperty('approval');
});
