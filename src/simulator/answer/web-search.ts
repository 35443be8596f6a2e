import { type Digest, digest, hex } from '../random/digest.ts';
import type { JsonObject } from '../request/json.ts';
import { contentWords, excerpt } from '../text/words.ts';

/** @returns the query for a search about the question */
export function searchQuery(text: string): string {
  const words = contentWords(text).filter((word) => !/^(search|latest|online|please|find)$/.test(word));
  return words.slice(0, 8).join(' ') || excerpt(text, 60) || 'sluice';
}

/** Invents pages about a query, in the form of the API's search results. */
export function searchResults(query: string, seed: Digest): JsonObject[] {
  const slug = query.replace(/[^\p{L}\p{N}]+/gu, '-').slice(0, 60);
  return ['An overview', 'Questions and answers'].map((title, index) => ({
    type: 'web_search_result',
    title: `${title}: ${query} (simulated)`,
    url: `https://example.com/${index + 1}/${encodeURIComponent(slug.toWellFormed())}`,
    encrypted_content: btoa(`sluice-simulator:${hex(digest(`${query}:${index}`, seed))}`),
    page_age: null,
  }));
}

/** @returns the citation of an invented page */
export function citationOf(result: JsonObject, seed: Digest): JsonObject {
  const title = String(result.title);
  return {
    type: 'web_search_result_location',
    cited_text: `${title} does not exist outside the simulator.`,
    url: String(result.url),
    title,
    encrypted_index: btoa(`sluice-simulator:${hex(digest(title, seed))}`),
  };
}
