import type { ListedModel } from '../../edge/models.ts';
import { formatUsd } from '../../ui/format.ts';

/** Shows what a model costs, by itself and in batches. Nothing is shown for a model without known prices. */
export function ModelPrices({ prices }: Pick<ListedModel, 'prices'>) {
  if (!prices) return null;
  const rows = [
    ['Requests', prices],
    ['Batches', prices.batch],
  ] as const;
  return (
    <table class="table prices">
      <caption class="quiet">US dollars per million tokens</caption>
      <thead>
        <tr>
          <td />
          <th scope="col" class="number">
            Input
          </th>
          <th scope="col" class="number">
            Output
          </th>
        </tr>
      </thead>
      <tbody>
        {rows.map(([name, { input, output }]) => (
          <tr key={name}>
            <th scope="row">{name}</th>
            <td class="number">{formatUsd(input)}</td>
            <td class="number">{formatUsd(output)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
