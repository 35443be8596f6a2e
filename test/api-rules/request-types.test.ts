import { expect, test } from 'vitest';
import { renderRequestTypes } from '#test/support/sdk/request-types.ts';
import { readInstalledFile, SdkTypes } from '#test/support/sdk/types.ts';

test('the generated request types match the installed SDK', async () => {
  const { tools, others } = renderRequestTypes(new SdkTypes());
  await expect(tools).toMatchFileSnapshot('../../src/api-rules/tool-types.ts');
  await expect(others).toMatchFileSnapshot('../../src/api-rules/request-types.ts');
});

test('renderRequestTypes includes the type of a field that an SDK update adds', () => {
  const file = 'resources/beta/messages/messages.d.ts';
  const before = 'export interface BetaTextBlockParam {';
  const updated = readInstalledFile(file).replace(before, `${before}\n    mood?: Array<'glad' | 'sad'> | null;`);
  const { others } = renderRequestTypes(new SdkTypes(new Map([[file, updated]])));
  expect(others).toContain(`  TextBlockParam: {\n    mood: '["glad"|"sad"]|null',\n`);
});
