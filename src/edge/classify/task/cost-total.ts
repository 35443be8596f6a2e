import type { Nanodollars, Usage } from '../../claude/pricing/cost.ts';
import type { ClassifyUsage } from '../classify-answers.schema.ts';

/** Adds up what several calls, or inputs, have cost. */
export class CostTotal {
  nanodollars: Nanodollars = 0;
  readonly usage: ClassifyUsage = {
    input_tokens: 0,
    output_tokens: 0,
    cache_read_input_tokens: 0,
    cache_creation_input_tokens: 0,
  };

  addCost({ nanodollars, usage }: { nanodollars: Nanodollars; usage: Usage | undefined }): this {
    this.nanodollars += nanodollars;
    for (const kind of Object.keys(this.usage) as (keyof ClassifyUsage)[]) this.usage[kind] += usage?.[kind] ?? 0;
    return this;
  }
}
