/** The parts of a model that limit its output. */
interface OutputLimit {
  id: string;
  max_tokens: number;
}

/** @returns the API's words for a `max_tokens` above the limit of a model; undefined if the model accepts it */
export function findMaxTokensFault(maxTokens: number, { id, max_tokens: limit }: OutputLimit): string | undefined {
  if (maxTokens <= limit) return undefined;
  return `max_tokens: ${maxTokens} > ${limit}, which is the maximum allowed number of output tokens for ${id}`;
}
