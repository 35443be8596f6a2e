function base64(bytes: number[]): string {
  return btoa(String.fromCharCode(...bytes));
}

const bytes16 = (value: number): number[] => [value >> 8, value & 255];
const little16 = (value: number): number[] => [value & 255, value >> 8];

/** The beginning of a PNG of that size: enough for whoever reads only its header. */
export function pngOf(width: number, height: number): string {
  const signature = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
  return base64([...signature, 0, 0, 0, 13, 0x49, 0x48, 0x44, 0x52, 0, 0, ...bytes16(width), 0, 0, ...bytes16(height)]);
}

export function gifOf(width: number, height: number): string {
  return base64([0x47, 0x49, 0x46, 0x38, 0x39, 0x61, ...little16(width), ...little16(height), 0, 0]);
}

/** A JPEG whose frame header stands behind other segments. */
export function jpegOf(width: number, height: number): string {
  const application = [0xff, 0xe0, ...bytes16(4), 1, 2];
  const tables = [0xff, 0xff, 0xdb, ...bytes16(5), 1, 2, 3];
  return base64([
    0xff,
    0xd8,
    ...application,
    ...tables,
    0xff,
    0xc2,
    ...bytes16(11),
    8,
    ...bytes16(height),
    ...bytes16(width),
    3,
    1,
    1,
  ]);
}

export function webpOf(form: 'VP8 ' | 'VP8L' | 'VP8X', width: number, height: number): string {
  const head = [...'RIFF']
    .map((c) => c.charCodeAt(0))
    .concat(
      [0, 0, 0, 0],
      [...`WEBP${form}`].map((c) => c.charCodeAt(0)),
      [0, 0, 0, 0],
    );
  if (form === 'VP8 ')
    return base64([...head, 0, 0, 0, 0x9d, 0x01, 0x2a, ...little16(width), ...little16(height), 0, 0]);
  if (form === 'VP8X') return base64([...head, 0, 0, 0, 0, ...little16(width - 1), 0, ...little16(height - 1), 0]);
  const bits = (width - 1) | ((height - 1) << 14);
  return base64([...head, 0x2f, bits & 255, (bits >> 8) & 255, (bits >> 16) & 255, (bits >> 24) & 255, 0]);
}

/** A PDF as far as its pages are counted. */
export function pdfOf(pages: number): string {
  return btoa(`%PDF-1.4 ${'/Type /Page '.repeat(pages)}`);
}
