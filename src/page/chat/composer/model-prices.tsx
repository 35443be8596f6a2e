import type { ListedModel } from '../../edge/models.ts';
import { hasPlugin } from '../../edge/plugins.ts';
import { formatUsd } from '../../ui/format.ts';

/** Shows what a model costs in requests and, if the deployment supports them, in batches. A model without known prices has no table. */
export function ModelPrices({ prices }: Pick<ListedModel, 'prices'>) {
  if (!prices) return null;
  const rows = [['Requests', prices], ...(hasPlugin('batches') ? [['Batches', prices.batch] as const] : [])] as const;
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
