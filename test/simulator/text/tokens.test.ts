import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { estimateTokenCount, splitTokens } from '#simulator/text/tokens.ts';
import { tryAsyncCases, tryCases } from '#test/support/property-cases.ts';
import { clientOf, model, simulated } from '../api.ts';
import { pngOf } from '../pictures.ts';

const mixture = fc.array(fc.constantFrom('a', 'Z', '7', ' ', '\n', '.', 'é', 'ж', '語', '😀', '\ud83d'), {
  maxLength: 40,
});
const anyText = fc.oneof(
  mixture.map((characters) => characters.join('')),
  fc.string({ unit: 'binary', maxLength: 300 }),
  fc.lorem({ maxCount: 40 }),
);

describe('tokens', () => {
  test("never outnumber a text's UTF-8 bytes, and join to the text", () => {
    tryCases(100, anyText, (text) => {
      const tokens = splitTokens(text);
      expect(tokens.join('')).toBe(text);
      expect(tokens).toHaveLength(estimateTokenCount(text));
      expect(tokens.length).toBeLessThanOrEqual(new TextEncoder().encode(text).byteLength);
      if (text.isWellFormed()) expect(tokens.every((token) => token.isWellFormed())).toBe(true);
    });
  });

  test('are about three quarters of a word in English', () => {
    const text = 'The quick brown fox jumps over the lazy dog, and nobody at all was surprised by it. '.repeat(20);
    expect(estimateTokenCount(text) / text.split(' ').length).toBeGreaterThan(1);
    expect(estimateTokenCount(text) / text.split(' ').length).toBeLessThan(1.5);
  });
});

describe('the token count of a request', () => {
  const client = clientOf(simulated());
  const bytes = (value: unknown): number =>
    new TextEncoder().encode(typeof value === 'string' ? value : JSON.stringify(value)).byteLength;
  // The API rejects half a surrogate pair.
  const visible = anyText.map((text) => text.toWellFormed()).filter((text) => text.trim() !== '');

  test('equals the billed input of a message, and stays below the bound that budgets use', async () => {
    const tool = fc.record({ name: fc.stringMatching(/^[a-z_]{1,20}$/), description: fc.string({ maxLength: 80 }) });
    await tryAsyncCases(
      60,
      visible,
      fc.array(visible, { maxLength: 4 }),
      fc.uniqueArray(tool, { maxLength: 3, selector: ({ name }) => name }),
      fc.boolean(),
      async (system, texts, definitions, hasImage) => {
        const tools = definitions.map((definition) => ({ ...definition, input_schema: { type: 'object' as const } }));
        const image = {
          type: 'image' as const,
          source: { type: 'base64' as const, media_type: 'image/png' as const, data: pngOf(1000, 900) },
        };
        const messages = ['question', ...texts].map((text, index) => ({
          role: index % 2 === 0 ? ('user' as const) : ('assistant' as const),
          content: index === 0 && hasImage ? [image, { type: 'text' as const, text }] : text.trimEnd(),
        }));
        const prompt = { model, system, messages, ...(tools.length > 0 ? { tools } : {}) };
        const { input_tokens } = await client.messages.countTokens(prompt);
        const { usage } = await client.messages.create({ ...prompt, max_tokens: 1 });
        expect(usage.input_tokens).toBe(input_tokens);
        const text = bytes(system) + ['question', ...texts].reduce((sum, entry) => sum + bytes(entry), 0);
        const ofTools = tools.reduce((sum, entry) => sum + bytes(entry) + 1024, 0);
        expect(input_tokens).toBeLessThanOrEqual(text + 16 * messages.length + 256 + ofTools + (hasImage ? 4800 : 0));
      },
    );
  });

  test('grows with the size of an image, up to a maximum', async () => {
    const count = async (width: number, height: number): Promise<number> => {
      const source = { type: 'base64' as const, media_type: 'image/png' as const, data: pngOf(width, height) };
      return (
        await client.messages.countTokens({ model, messages: [{ role: 'user', content: [{ type: 'image', source }] }] })
      ).input_tokens;
    };
    const base = (await count(1, 1)) - 1;
    expect((await count(300, 250)) - base).toBe(11 * 9);
    expect((await count(8000, 8000)) - base).toBe(69 * 69);
  });
});
