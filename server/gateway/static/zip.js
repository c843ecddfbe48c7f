// Files in one zip, stored and not packed: PNGs do not get smaller.
const TABLE = Uint32Array.from({ length: 256 }, (_, value) => {
  for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  return value;
});
const UTF8_NAMES = 0x0800;
const FIRST_OF_1980 = 0x0021; // the earliest date there is

// `files` is a list of { name, blob }; names must differ. Less than 4 GiB in all.
export async function zip(files) {
  const parts = [];
  const directory = [];
  let offset = 0;
  for (const { name, blob } of files) {
    const data = new Uint8Array(await blob.arrayBuffer());
    const title = new TextEncoder().encode(name);
    const common = [[2, 20], [2, UTF8_NAMES], [2, 0], [2, 0], [2, FIRST_OF_1980], [4, crc32(data)],
      [4, data.length], [4, data.length], [2, title.length], [2, 0]];
    parts.push(fields([[4, 0x04034b50], ...common]), title, data);
    const inner = [[2, 0], [2, 0], [2, 0], [4, 0], [4, offset]];
    directory.push(fields([[4, 0x02014b50], [2, 20], ...common, ...inner]), title);
    offset += 30 + title.length + data.length;
  }
  const size = directory.reduce((sum, part) => sum + part.length, 0);
  const end = fields([[4, 0x06054b50], [2, 0], [2, 0], [2, files.length], [2, files.length], [4, size],
    [4, offset], [2, 0]]);
  return new Blob([...parts, ...directory, end], { type: "application/zip" });
}

// Little-endian numbers of 2 or 4 bytes.
function fields(list) {
  const view = new DataView(new ArrayBuffer(list.reduce((sum, [bytes]) => sum + bytes, 0)));
  let at = 0;
  for (const [bytes, value] of list) {
    if (bytes === 2) view.setUint16(at, value, true);
    else view.setUint32(at, value, true);
    at += bytes;
  }
  return new Uint8Array(view.buffer);
}

function crc32(data) {
  let sum = 0xffffffff;
  for (const byte of data) sum = TABLE[(sum ^ byte) & 0xff] ^ (sum >>> 8);
  return (sum ^ 0xffffffff) >>> 0;
}
