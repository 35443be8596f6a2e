// @vitest-environment jsdom
import { h } from 'preact';
import { expect, test } from 'vitest';
import { ModelPrices } from '#page/chat/composer/model-prices.tsx';
import type { ListedModel } from '#page/edge/models.ts';
import { includedPlugins, type PluginName } from '#page/edge/plugins.ts';
import { installFakeEdge, renderForTest } from '#test/support/dom.ts';

const PRICES = { input: 1, output: 5, batch: { input: 0.5, output: 2.5 } } as ListedModel['prices'];

test.each<[PluginName[], string[]]>([
  [['batches'], ['Requests', 'Batches']],
  [[], ['Requests']],
])('with the plugins %j, the prices are those of %j', (plugins, names) => {
  installFakeEdge(() => ({}));
  includedPlugins.value = new Set(plugins);
  const root = renderForTest(h(ModelPrices, { prices: PRICES }));
  expect([...root.querySelectorAll('th[scope=row]')].map(({ textContent }) => textContent)).toEqual(names);
});
