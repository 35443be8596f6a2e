import fc from 'fast-check';
import { expect, test } from 'vitest';
import { readImageSize } from '#simulator/request/image-size.ts';
import { tryCases } from '#test/support/property-cases.ts';
import { gifOf, jpegOf, pngOf, webpOf } from '../pictures.ts';

test('readImageSize returns the type and the size of each image format', () => {
  const side = fc.integer({ min: 1, max: 8000 });
  tryCases(100, side, side, (width, height) => {
    expect(readImageSize(pngOf(width, height))).toEqual({ mediaType: 'image/png', width, height });
    expect(readImageSize(gifOf(width, height))).toEqual({ mediaType: 'image/gif', width, height });
    expect(readImageSize(jpegOf(width, height))).toEqual({ mediaType: 'image/jpeg', width, height });
    for (const form of ['VP8 ', 'VP8L', 'VP8X'] as const) {
      expect(readImageSize(webpOf(form, width, height))).toEqual({ mediaType: 'image/webp', width, height });
    }
  });
});

test('readImageSize does not throw for arbitrary or truncated bytes', () => {
  const images = [pngOf(9, 9), gifOf(9, 9), jpegOf(9, 9), webpOf('VP8L', 9, 9)];
  tryCases(100, fc.uint8Array({ maxLength: 64 }), fc.constantFrom(...images), fc.nat(60), (bytes, image, length) => {
    expect(() => readImageSize(btoa(String.fromCharCode(...bytes)))).not.toThrow();
    expect(() => readImageSize(btoa(atob(image).slice(0, length)))).not.toThrow();
  });
});
